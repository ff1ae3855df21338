/* machine.h: functions that return to ask for something and go on where they were when called again (protothreads).
 *
 * A machine is a function of one struct whose member `resume` is 0 before the first call. Between BEGIN and END it reads as one
 * straight text; WAIT(m, number, value) returns `value`, and the next call goes on behind it. Numbers are written out, distinct
 * and never used again for another place, since structs are saved in files. Local variables do not survive a WAIT, and a `switch`
 * may not enclose one. A machine that has ended, or a number that no WAIT has, falls through END.
 */
#ifndef FO_MACHINE_H
#define FO_MACHINE_H

#define BEGIN(m) switch ((m)->resume) { case 0:
#define WAIT(m, number, value) do { (m)->resume = (number); return (value); case (number):; } while (0)
#define END(m) default:; } (m)->resume = -1

#endif
