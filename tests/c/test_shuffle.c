/* Orders against the plainest code, with every buffer exactly as long as it says, so that the sanitizers see one byte more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static uint64_t next(void *state)                         /* xorshift64: any full stream of bits will do here */
{
    uint64_t *x = state;
    *x ^= *x << 13; *x ^= *x >> 7; *x ^= *x << 17;
    return *x;
}

static void orders(ptrdiff_t n, int wide)
{
    uint64_t state = 88172645463325252u;
    fo_bits bits = { &state, next };
    size_t width = wide ? 8 : 4;
    char *order = malloc((size_t)n * width + !n), *seen = calloc((size_t)n + 1, 1);
    fo_shuffle(order, wide, n, &bits);
    for (ptrdiff_t i = 0; i < n; i++) {
        ptrdiff_t v = wide ? (ptrdiff_t)((int64_t *)order)[i] : (ptrdiff_t)((uint32_t *)order)[i];
        CHECK(v >= 0 && v < n && !seen[v]);
        seen[v] = 1;
    }
    if (n) fo_draw(order, wide, n, 3, &bits);
    for (ptrdiff_t i = 0; i < n; i++)
        CHECK((wide ? (uint64_t)((int64_t *)order)[i] : ((uint32_t *)order)[i]) < 3);
    free(order); free(seen);
}

int main(void)
{
    for (ptrdiff_t n = 0; n < 200; n++) { orders(n, 0); orders(n, 1); }
    orders(100003, 0);
    return failures != 0;
}
