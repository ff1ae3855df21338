/* files.c: rows from files by pread, sorted by where they lie, neighbours in one read. Left out: writing, and any cache but the windows
 * that the caller holds: the system keeps pages.
 *
 * A mapped file that is cut kills the process that reads it (SIGBUS), and a map as large as the file does not fit under a limit of
 * address space. pread has neither fault, and needs no file position, so a forked child may share the descriptor.
 */
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#else
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files.h"

enum {
    GAP = 4096,                    /* bytes between two rows that are read along rather than skipped: about what a call costs */
    DIGIT = 8,                     /* bits a pass of the sort looks at */
    MOST = 1 << 30                 /* bytes of one call: systems refuse more than 2^31 */
};

int fo_stamp_file(int fd, int64_t stamp[FO_STAMP])
{
    struct stat s;
    if (fstat(fd, &s)) return errno;
    stamp[0] = (int64_t)s.st_dev;
    stamp[1] = (int64_t)s.st_ino;
    stamp[2] = (int64_t)s.st_size;
#if defined(__APPLE__)
    stamp[3] = (int64_t)s.st_mtimespec.tv_sec;
    stamp[4] = (int64_t)s.st_mtimespec.tv_nsec;
#else
    stamp[3] = (int64_t)s.st_mtim.tv_sec;
    stamp[4] = (int64_t)s.st_mtim.tv_nsec;
#endif
    return 0;
}

/* ---- which rows ---- */

static inline int64_t entry(const void *order, int wide, ptrdiff_t i)
{
    return wide ? ((const int64_t *)order)[i] : (int64_t)((const uint32_t *)order)[i];
}

ptrdiff_t fo_outside(const void *order, int wide, ptrdiff_t n, int64_t rows)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        int64_t row = entry(order, wide, i);
        if (row < 0 || row >= rows) return i;
    }
    return n;
}

void fo_sort_picks(const void *order, int wide, ptrdiff_t n, int64_t rows, fo_pick *picks, fo_pick *scratch)
{
    int sorted = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        picks[i] = (fo_pick){ entry(order, wide, i), i };
        sorted &= i == 0 || picks[i - 1].row <= picks[i].row;
    }
    if (sorted) return;
    fo_pick *from = picks, *to = scratch;
    for (int shift = 0; shift < 63 && (rows - 1) >> shift; shift += DIGIT) {        /* least digit first: each pass keeps the order of the last */
        ptrdiff_t start[1 << DIGIT] = { 0 }, sum = 0;
        const int64_t mask = (1 << DIGIT) - 1;
        for (ptrdiff_t i = 0; i < n; i++) start[(from[i].row >> shift) & mask]++;
        for (int d = 0; d < 1 << DIGIT; d++) {
            ptrdiff_t count = start[d];
            start[d] = sum;
            sum += count;
        }
        for (ptrdiff_t i = 0; i < n; i++) to[start[(from[i].row >> shift) & mask]++] = from[i];
        fo_pick *last = from;
        from = to;
        to = last;
    }
    if (from != picks) memcpy(picks, from, (size_t)n * sizeof *picks);
}

/* ---- reading ---- */

/* n bytes from `offset` on. */
static int read_all(fo_read_job *job, const fo_file *f, char *to, int64_t offset, int64_t n)
{
    while (n > 0) {
        ssize_t got = pread(f->fd, to, (size_t)(n < MOST ? n : MOST), (off_t)offset);
        if (got == 0) return FO_READ_SHORT;
        if (got < 0) {
            if (errno == EINTR) continue;
            job->error = errno;
            return FO_READ_FAILED;
        }
        to += got;
        offset += got;
        n -= got;
    }
    return FO_READ_DONE;
}

/* Finds the file that holds a row and sees that it is open and unchanged. */
static int enter(fo_read_job *job, int64_t row)
{
    int low = 0, high = job->count - 1;
    while (low < high) {                                                  /* files without rows are passed over */
        int mid = low + (high - low) / 2;
        if (row < job->files[mid].first + job->files[mid].rows) high = mid;
        else low = mid + 1;
    }
    fo_file *f = &job->files[low];
    int64_t stamp[FO_STAMP];
    job->file = low;
    if (f->fd < 0) return FO_READ_CLOSED;
    f->used = job->tick;
    job->error = fo_stamp_file(f->fd, stamp);
    if (job->error) return FO_READ_FAILED;
    return memcmp(stamp, f->stamp, sizeof stamp) ? FO_READ_CHANGED : FO_READ_DONE;
}

static int read_run(fo_read_job *job)
{
    while (job->done < job->n) {
        int64_t row = job->first + job->done;
        int status = enter(job, row);
        if (status) return status;
        const fo_file *f = &job->files[job->file];
        int64_t here = f->first + f->rows - row, left = job->n - job->done, n = here < left ? here : left;
        status = read_all(job, f, job->out + job->done * job->bytes, f->start + (row - f->first) * job->bytes, n * job->bytes);
        if (status) return status;
        job->done += n;
    }
    return FO_READ_DONE;
}

/* Reads picks from `done` on that lie before row `end` of the file, as many as one read can serve. */
static int read_near(fo_read_job *job, const fo_file *f, int64_t end)
{
    const fo_pick *p = job->picks + job->done;
    const ptrdiff_t left = job->n - job->done, bytes = job->bytes;
    const int64_t at = f->start + (p[0].row - f->first) * bytes;
    ptrdiff_t n = 1;
    while (n < left && p[n].row < end && p[n].row == p[n - 1].row + 1 && p[n].place == p[n - 1].place + 1) n++;
    ptrdiff_t straight = n;                                               /* so many lie in the batch as in the file */
    if (n == 1)
        while (n < left && p[n].row < end && (p[n].row - p[n - 1].row - 1) * bytes <= GAP && (p[n].row - p[0].row + 1) * bytes <= job->room)
            n++;
    int status;
    if (straight > 1 || p[n - 1].row == p[0].row) {
        char *to = job->out + p[0].place * bytes;
        status = read_all(job, f, to, at, straight * bytes);
        if (status) return status;
        for (ptrdiff_t k = straight; k < n; k++) memcpy(job->out + p[k].place * bytes, to, (size_t)bytes);
    } else {
        status = read_all(job, f, job->scratch, at, (p[n - 1].row - p[0].row + 1) * bytes);
        if (status) return status;
        for (ptrdiff_t k = 0; k < n; k++)
            memcpy(job->out + p[k].place * bytes, job->scratch + (p[k].row - p[0].row) * bytes, (size_t)bytes);
    }
    job->done += n;
    return FO_READ_DONE;
}

int fo_read_rows(fo_read_job *job)
{
    if (!job->picks) return read_run(job);
    const ptrdiff_t bytes = job->bytes;
    const fo_file *f = NULL;
    int w = 0;
    while (job->done < job->n) {
        fo_pick p = job->picks[job->done];
        while (w < job->n_windows && job->windows[w].stop <= p.row) w++;
        if (w < job->n_windows && job->windows[w].first <= p.row) {
            memcpy(job->out + p.place * bytes, job->windows[w].data + (p.row - job->windows[w].first) * bytes, (size_t)bytes);
            job->done++;
            continue;
        }
        if (!f || p.row >= f->first + f->rows) {
            int status = enter(job, p.row);
            if (status) return status;
            f = &job->files[job->file];
        }
        int64_t end = f->first + f->rows;
        if (w < job->n_windows && job->windows[w].first < end) end = job->windows[w].first;
        int status = read_near(job, f, end);
        if (status) return status;
    }
    return FO_READ_DONE;
}

void fo_advise_rows(const fo_file *file, ptrdiff_t bytes, int64_t first, int64_t n)
{
#if defined(POSIX_FADV_WILLNEED) && !defined(__APPLE__)
    if (file->fd >= 0) (void)posix_fadvise(file->fd, (off_t)(file->start + first * bytes), (off_t)(n * bytes), POSIX_FADV_WILLNEED);
#else
    (void)file; (void)bytes; (void)first; (void)n;
#endif
}
