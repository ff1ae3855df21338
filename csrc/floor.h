/* floor.h: the yardstick of benchmarks. The streams of a step, read and written once, with arithmetic that costs nothing:
 * w[j][i] += r[i]. Included once a width. */
#define STREAM(j) REAL *restrict w##j = job->n_written > j ? (REAL *)job->written[j] + start : NULL
static void FN(floor_range)(const fo_floor_job *job, ptrdiff_t start, ptrdiff_t n)
{
    const REAL *restrict r = (const REAL *)job->read + start;
    STREAM(0); STREAM(1); STREAM(2); STREAM(3); STREAM(4);
    ptrdiff_t i;
    switch (job->n_written) {
    case 1: for (i = 0; i < n; i++) { w0[i] += r[i]; } break;
    case 2: for (i = 0; i < n; i++) { w0[i] += r[i]; w1[i] += r[i]; } break;
    case 3: for (i = 0; i < n; i++) { w0[i] += r[i]; w1[i] += r[i]; w2[i] += r[i]; } break;
    case 4: for (i = 0; i < n; i++) { w0[i] += r[i]; w1[i] += r[i]; w2[i] += r[i]; w3[i] += r[i]; } break;
    case 5: for (i = 0; i < n; i++) { w0[i] += r[i]; w1[i] += r[i]; w2[i] += r[i]; w3[i] += r[i]; w4[i] += r[i]; } break;
    default: break;
    }
}
#undef STREAM

/* One more read of r: its bits, added up as integers, which vectorises at any width and cannot be skipped. */
static void FN(floor_read)(const fo_floor_job *job, ptrdiff_t start, ptrdiff_t n)
{
    const REAL *r = (const REAL *)job->read + start;
    UINT a = 0, b = 0, c = 0, d = 0;                      /* four chains, so that loads and not additions set the pace */
    const ptrdiff_t quarter = n / 4;
    for (ptrdiff_t i = 0; i < quarter; i++) {
        a += FN(bits)(r[i]);
        b += FN(bits)(r[i + quarter]);
        c += FN(bits)(r[i + 2 * quarter]);
        d += FN(bits)(r[i + 3 * quarter]);
    }
    volatile UINT sink = a + b + c + d;
    (void)sink;
}
