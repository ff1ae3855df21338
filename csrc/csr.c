/* csr.c: rows of a sparse matrix in compressed rows, copied one after the other. Left out: columns, sums of duplicates, sorting. */
#include <string.h>
#include "files.h"

static inline int64_t at(const void *array, int wide, int64_t i)
{
    return wide ? ((const int64_t *)array)[i] : (int64_t)((const int32_t *)array)[i];
}

static inline int64_t row_at(const void *order, int wide, ptrdiff_t i)
{
    return wide ? ((const int64_t *)order)[i] : (int64_t)((const uint32_t *)order)[i];
}

int64_t fo_csr_starts(const fo_csr *m, const void *order, int wide, ptrdiff_t n, int64_t *starts)
{
    int64_t sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        int64_t row = row_at(order, wide, i);
        starts[i] = sum;
        if (row < 0 || row >= m->rows) return -1 - i;
        int64_t begin = at(m->indptr, m->wide, row), end = at(m->indptr, m->wide, row + 1);
        if (begin < 0 || begin > end || end > m->stored) return -1 - i;
        sum += end - begin;
    }
    starts[n] = sum;
    return sum;
}

void fo_csr_rows(const fo_csr *m, const void *order, int wide, ptrdiff_t n, const int64_t *starts, int out_wide, void *indptr,
                 void *indices, char *data)
{
    const ptrdiff_t index = m->wide ? 8 : 4;
    for (ptrdiff_t i = 0; i <= n; i++)
        if (out_wide) ((int64_t *)indptr)[i] = starts[i];
        else ((int32_t *)indptr)[i] = (int32_t)starts[i];
    for (ptrdiff_t i = 0; i < n; i++) {
        int64_t from = at(m->indptr, m->wide, row_at(order, wide, i)), to = starts[i], count = starts[i + 1] - to;
        const char *source = (const char *)m->indices + from * index;
        memcpy(data + to * m->item, m->data + from * m->item, (size_t)(count * m->item));
        if (out_wide == m->wide) memcpy((char *)indices + to * index, source, (size_t)(count * index));
        else for (int64_t k = 0; k < count; k++) ((int64_t *)indices)[to + k] = ((const int32_t *)source)[k];
    }
}
