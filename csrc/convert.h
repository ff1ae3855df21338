/* convert.h: elements of any of FO_KINDS to one width, times a factor. Included by kernels.c.
 *
 * The element is rounded to the width (to the nearest), then multiplied in it: with factor 1 this is NumPy's astype. */

#ifndef CONVERT_HALF
#define CONVERT_HALF
/* Half precision, exactly. Numbers below 2^-14 are multiples of 2^-24: what is added to 0.5 and taken away again. */
static inline float convert_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    const uint32_t large = (rest << 13) + (rest >= 0x7c00 ? UINT32_C(0x70000000) : UINT32_C(0x38000000));
    const uint32_t half = rest | UINT32_C(0x3f000000);
    float small, value;
    memcpy(&small, &half, 4);
    small -= 0.5f;
    uint32_t bits;
    memcpy(&bits, &small, 4);
    bits = (rest < 0x400 ? bits : large) | sign;
    memcpy(&value, &bits, 4);
    return value;
}
#define VALUE_u8(x) (x)
#define VALUE_i8(x) (x)
#define VALUE_u16(x) (x)
#define VALUE_i16(x) (x)
#define VALUE_u32(x) (x)
#define VALUE_i32(x) (x)
#define VALUE_u64(x) (x)
#define VALUE_i64(x) (x)
#define VALUE_f16(x) convert_half(x)
#define VALUE_f32(x) (x)
#define VALUE_f64(x) (x)
#endif

/* out[n]; elements lie `stride` bytes apart, at any address */
#define KIND(name, type)                                                                                                      \
    static void FN(convert_##name)(void *out, const char *from, ptrdiff_t n, ptrdiff_t stride, double factor)                \
    {                                                                                                                         \
        REAL *restrict to = out;                                                                                              \
        const REAL c = (REAL)factor;                                                                                          \
        type x;                                                                                                               \
        if (stride == (ptrdiff_t)sizeof x)                                                                                    \
            for (ptrdiff_t i = 0; i < n; i++) {                                                                               \
                memcpy(&x, from + i * (ptrdiff_t)sizeof x, sizeof x);                                                         \
                to[i] = (REAL)VALUE_##name(x) * c;                                                                            \
            }                                                                                                                 \
        else                                                                                                                  \
            for (ptrdiff_t i = 0; i < n; i++) {                                                                               \
                memcpy(&x, from + i * stride, sizeof x);                                                                      \
                to[i] = (REAL)VALUE_##name(x) * c;                                                                            \
            }                                                                                                                 \
    }
FO_KINDS(KIND)
#undef KIND
