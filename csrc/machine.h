/* machine.h: a function that stops in the middle to ask its caller something and goes on there when called again.
 *
 * `at` is an int in the state, 0 at first. Between BEGIN and END the function reads as one straight loop; WAIT returns `value` and the
 * next call goes on behind it. Numbers of waits are written out, since they are saved with the state; within a function each is used
 * once. Local variables do not survive a WAIT: what must, lives in the state.
 */
#ifndef FO_MACHINE_H
#define FO_MACHINE_H
#if defined(__GNUC__)
#define MACHINE_FALL __attribute__((fallthrough))
#else
#define MACHINE_FALL (void)0
#endif
#define BEGIN(at) switch (at) { case 0:
#define WAIT(at, number, value) do { (at) = (number); return (value); case (number):; } while (0)
#define END(at) default:; } (at) = -1
#endif
