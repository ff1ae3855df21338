/* Gathers against the plainest code, with every buffer exactly as long as it says, so that the sanitizers see one byte more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static uint64_t state = 88172645463325252u;
static uint64_t next(void *unused)                        /* xorshift64 */
{
    (void)unused;
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return state;
}

static ptrdiff_t at(const void *order, int wide, ptrdiff_t i)
{
    return !order ? i : wide ? (ptrdiff_t)((const int64_t *)order)[i] : (ptrdiff_t)((const uint32_t *)order)[i];
}

/* Rows of `items` elements of `item` bytes, packed or with gaps between them, forwards or backwards, at an odd address; in batches
 * of `size`, of which every `deal`-th is wanted. */
static void rows(ptrdiff_t n, ptrdiff_t items, ptrdiff_t item, int kind, int gaps, int backwards, int wide, int ordered, ptrdiff_t size,
                 ptrdiff_t deal, int threads)
{
    const fo_bits bits = { NULL, next };
    const ptrdiff_t bytes = items * item, spread = gaps ? 3 * bytes : bytes;
    char *store = malloc((size_t)(n * spread) + 1);
    for (ptrdiff_t i = 0; i <= n * spread; i++) store[i] = (char)(next(NULL) % 100);      /* no NaN of any type */
    void *order = malloc((size_t)n * 8);
    fo_shuffle(order, wide, n, &bits);
    if (!ordered) { free(order); order = NULL; }
    const fo_layout layout = { 1, { items }, { 3 * item } };
    for (int width = 0; width < (kind == FO_KIND_COPY ? 1 : 2); width++) {
        const ptrdiff_t out_item = kind == FO_KIND_COPY ? item : width ? 8 : 4;
        const fo_rows a = { store + 1 + (backwards ? (n - 1) * spread : 0), backwards ? -spread : spread, bytes, gaps ? item : bytes, &layout,
                            kind, width, 0.25, item, items * out_item };
        char *out[64];
        const ptrdiff_t batches = (n + size * deal - 1) / (size * deal), left = n - (batches - 1) * size * deal;
        const ptrdiff_t last = left < size ? left : size;
        CHECK(batches <= 64);
        for (ptrdiff_t b = 0; b < batches; b++) out[b] = malloc((size_t)((b < batches - 1 ? size : last) * a.out_bytes) + !a.out_bytes);
        const fo_gathering job = { &a, 1, wide, order, n, 0, size * deal, size, (batches - 1) * size + last, out };
        fo_gather(&job, threads);
        for (ptrdiff_t b = 0; b < batches; b++)
            for (ptrdiff_t i = 0; i < (b < batches - 1 ? size : last); i++)
                for (ptrdiff_t k = 0; k < items; k++) {
                    const char *from = a.data + at(order, wide, b * size * deal + i) * a.step + (gaps ? 3 * k * item : k * item);
                    const char *to = out[b] + i * a.out_bytes + k * out_item;
                    double value = 0, got;
                    float narrow;
                    if (kind == FO_KIND_COPY) { CHECK(!memcmp(to, from, (size_t)item)); continue; }
#define KIND(name, type) if (kind == FO_KIND_##name && kind != FO_KIND_f16) { type x; memcpy(&x, from, sizeof x); value = width ? (double)x : (double)(float)x; }
                    FO_KINDS(KIND)
#undef KIND
                    memcpy(&narrow, to, 4);
                    if (width) memcpy(&got, to, 8);
                    else got = narrow;
                    if (kind != FO_KIND_f16) CHECK(got == value * 0.25 || (!width && narrow == (float)value * 0.25f));
                }
        for (ptrdiff_t b = 0; b < batches; b++) free(out[b]);
    }
    free(store); free(order);
}

/* Every half-precision number: sign, exponent and fraction by the definition. */
static void halves(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t bits = (uint16_t)h;
        const int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
        double value = exponent ? 1 + fraction / 1024.0 : fraction / 1024.0;
        for (int k = exponent ? exponent : 1; k < 15; k++) value /= 2;
        for (int k = exponent; k > 15; k--) value *= 2;
        if (h >> 15) value = -value;
        float got;
        char *out[] = { (char *)&got };
        const fo_rows a = { (char *)&bits, 2, 2, 2, NULL, FO_KIND_f16, FO_F32, 1, 2, 4 };
        const fo_gathering job = { &a, 1, 0, NULL, 1, 0, 1, 1, 1, out };
        fo_gather(&job, 1);
        if (exponent < 31) CHECK((double)got == value && !!(h >> 15) == !!__builtin_signbit(got));
        else if (fraction) CHECK(got != got);
        else CHECK(got == (h >> 15 ? -__builtin_inff() : __builtin_inff()));
    }
}

int main(void)
{
    static const int items[] = {
#define KIND(name, type) sizeof(type),
        FO_KINDS(KIND)
#undef KIND
    };
    for (int isa = 0; fo_isa_name(isa); isa++) {
        if (!fo_isa_runs(isa)) continue;
        fo_use(fo_isa_name(isa));
        halves();
        for (int kind = 0; kind < FO_KIND_COUNT; kind++)
            for (int way = 0; way < 16; way++)
                for (ptrdiff_t count = 0; count < 70; count += count < 3 ? 1 : 33)
                    rows(37, count, items[kind], kind, way & 1, way & 2, way & 4, way & 8, 5, 1 + (way & 1), 1);
    }
    for (ptrdiff_t bytes = 0; bytes < 70; bytes++)
        for (int way = 0; way < 16; way++) rows(37, bytes, 1, FO_KIND_COPY, way & 1, way & 2, way & 4, way & 8, 37 - way, 1, 1);
    for (int threads = 1; threads <= 3; threads++) {
        rows(1001, 500, 1, FO_KIND_COPY, 0, 0, 0, 1, 100, 1, threads);        /* above the size from which threads are woken */
        rows(301, 784, 4, FO_KIND_f32, 0, 1, 1, 1, 32, 3, threads);
        rows(301, 1000, 1, FO_KIND_u8, 1, 0, 0, 1, 301, 1, threads);
    }
    return failures != 0;
}
