/* files.h: rows of one array that lies in several files, read where they are asked for; nothing is ever mapped. POSIX. */
#ifndef FO_FILES_H
#define FO_FILES_H
#include <stddef.h>
#include <stdint.h>

enum { FO_STAMP = 5 };

/* One file of rows of equal length, without gaps. */
typedef struct {
    int fd;                        /* open for reading; < 0: not open now */
    int64_t first;                 /* its row 0, among the rows of all files */
    int64_t rows;
    int64_t start;                 /* byte at which its row 0 begins */
    int64_t used;                  /* out: tick of the last job that read from it */
    int64_t stamp[FO_STAMP];       /* what fo_stamp_file gave when its rows were counted */
} fo_file;

/* Rows first .. stop-1, already in memory. */
typedef struct { int64_t first, stop; const char *data; } fo_window;

/* Row `row` goes to place `place` of a batch. */
typedef struct { int64_t row, place; } fo_pick;

typedef struct {
    fo_file *files;                /* by first row; together rows 0 .. total-1 */
    int count;
    const fo_window *windows;      /* by first row, disjoint */
    int n_windows;
    ptrdiff_t bytes;               /* of a row, >= 1 */
    const fo_pick *picks;          /* n, by row; NULL: rows first .. first+n-1 */
    int64_t first;
    ptrdiff_t n;
    char *out;                     /* n rows, packed */
    char *scratch;                 /* room bytes, for rows that are read together and belong apart */
    ptrdiff_t room;
    int64_t tick;
    ptrdiff_t done;                /* in/out: picks served; 0 at first */
    int file;                      /* out: the file that a status other than FO_READ_DONE is about */
    int error;                     /* out: errno of FO_READ_FAILED */
} fo_read_job;

enum {
    FO_READ_DONE,
    FO_READ_CLOSED,                /* `file` is not open: open it and call again */
    FO_READ_CHANGED,               /* `file` is not what it was: its stamp differs */
    FO_READ_SHORT,                 /* `file` ended before the row that was asked for */
    FO_READ_FAILED                 /* read failed with `error` */
};

/* Device, number, size in bytes, time of last change in seconds and nanoseconds. 0, or errno. */
int fo_stamp_file(int fd, int64_t stamp[FO_STAMP]);

/* The first of order[n] (uint32_t, or int64_t if `wide`) that is no row number below `rows`; n: all are. */
ptrdiff_t fo_outside(const void *order, int wide, ptrdiff_t n, int64_t rows);

/* picks[n] for order[n], by row, equal rows by place. scratch[n] overlaps nothing. All entries are in 0 .. rows-1. */
void fo_sort_picks(const void *order, int wide, ptrdiff_t n, int64_t rows, fo_pick *picks, fo_pick *scratch);

/* Reads until all is done or something is wrong. Neighbouring rows come in one read. */
int fo_read_rows(fo_read_job *job);

/* Tells the system that rows first .. first+n-1 of `file` are wanted soon. Returns at once. */
void fo_advise_rows(const fo_file *file, ptrdiff_t bytes, int64_t first, int64_t n);

/* Rows of a sparse matrix in compressed rows: those of row i are indices and data [indptr[i], indptr[i+1]). */
typedef struct {
    const void *indptr, *indices;  /* both int32_t, or int64_t if `wide` */
    int wide;
    const char *data;
    ptrdiff_t item;                /* bytes of an element of data */
    int64_t rows, stored;          /* length of indices and data */
} fo_csr;

/* starts[n+1]: where the rows order[n] begin once they lie one after the other. Returns how many elements they store, or -1-i if entry i
 * of order is no row, or one whose bounds do not lie in order between 0 and `stored`. */
int64_t fo_csr_starts(const fo_csr *m, const void *order, int wide, ptrdiff_t n, int64_t *starts);

/* Copies these rows; elements keep their order. The new indptr[n+1] and indices are int64_t if `out_wide`, else int32_t. */
void fo_csr_rows(const fo_csr *m, const void *order, int wide, ptrdiff_t n, const int64_t *starts, int out_wide, void *indptr,
                 void *indices, char *data);
#endif
