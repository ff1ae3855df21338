/* Rows from files against memory: sorted picks, neighbours in one read, windows, files that changed. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { failures++; printf("line %d: %s\n", __LINE__, #x); } } while (0)

static uint64_t state = 1;
static int64_t draw(int64_t bound)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (int64_t)((state >> 33) % (uint64_t)bound);
}

enum { ROWS = 1000, MOST = 300, START = 37 };

/* A file without a name that holds rows [first, first + n) of the array after START bytes. */
static fo_file make(const fo_api *api, const char *array, ptrdiff_t bytes, int64_t first, int64_t n)
{
    char name[] = "/tmp/fo_filesXXXXXX";
    fo_file f = { .fd = mkstemp(name), .first = first, .rows = n, .start = START };
    char head[START] = { 0 };
    CHECK(f.fd >= 0);
    unlink(name);
    CHECK(write(f.fd, head, START) == START);
    CHECK(write(f.fd, array + first * bytes, (size_t)(n * bytes)) == n * bytes);
    CHECK(api->stamp_file(f.fd, f.stamp) == 0);
    return f;
}

static void against_memory(const fo_api *api, ptrdiff_t bytes, ptrdiff_t room)
{
    char *array = malloc((size_t)(ROWS * bytes)), *out = malloc((size_t)(ROWS * bytes)), *scratch = malloc((size_t)room);
    for (ptrdiff_t i = 0; i < ROWS * bytes; i++) array[i] = (char)draw(256);
    fo_file files[4] = { make(api, array, bytes, 0, 400), make(api, array, bytes, 400, 0), make(api, array, bytes, 400, 1),
                         make(api, array, bytes, 401, 599) };
    fo_window windows[2] = { { 100, 180, array + 100 * bytes }, { 390, 450, array + 390 * bytes } };
    for (int round = 0; round < 60; round++) {
        int wide = round & 1;
        ptrdiff_t n = draw(MOST), near = 1 + draw(ROWS);
        uint32_t narrow[MOST];
        int64_t order[MOST];
        fo_pick picks[MOST], more[MOST];
        for (ptrdiff_t i = 0; i < n; i++) {
            order[i] = round % 3 == 0 ? (i + near) % ROWS : draw(near);
            narrow[i] = (uint32_t)order[i];
        }
        const void *given = wide ? (const void *)order : narrow;
        CHECK(api->outside(given, wide, n, ROWS) == n);
        api->sort_picks(given, wide, n, ROWS, picks, more);
        for (ptrdiff_t i = 0; i < n; i++) {
            CHECK(order[picks[i].place] == picks[i].row);
            CHECK(i == 0 || picks[i - 1].row < picks[i].row || (picks[i - 1].row == picks[i].row && picks[i - 1].place < picks[i].place));
        }
        fo_read_job job = { .files = files, .count = 4, .windows = windows, .n_windows = round % 3, .bytes = bytes, .picks = picks, .n = n,
                            .out = out, .scratch = scratch, .room = room, .tick = round };
        memset(out, 0, (size_t)(n * bytes));
        CHECK(api->read_rows(&job) == FO_READ_DONE);
        for (ptrdiff_t i = 0; i < n; i++) CHECK(!memcmp(out + i * bytes, array + order[i] * bytes, (size_t)bytes));
        fo_read_job run = { .files = files, .count = 4, .bytes = bytes, .first = near - 1, .n = ROWS - near + 1, .out = out };
        CHECK(api->read_rows(&run) == FO_READ_DONE);
        CHECK(!memcmp(out, array + run.first * bytes, (size_t)(run.n * bytes)));
    }
    /* a file that is not open is asked for by number; opened, the job goes on where it was */
    fo_pick picks[3] = { { 5, 0 }, { 400, 1 }, { 999, 2 } };
    fo_read_job job = { .files = files, .count = 4, .bytes = bytes, .picks = picks, .n = 3, .out = out, .scratch = scratch, .room = room };
    int fd = files[2].fd;
    files[2].fd = -1;
    CHECK(api->read_rows(&job) == FO_READ_CLOSED && job.file == 2 && job.done == 1);
    files[2].fd = fd;
    CHECK(api->read_rows(&job) == FO_READ_DONE && !memcmp(out + bytes, array + 400 * bytes, (size_t)bytes));
    /* cut, with and without a stamp that tells */
    CHECK(ftruncate(files[3].fd, START) == 0);
    job.done = 0;
    CHECK(api->read_rows(&job) == FO_READ_CHANGED && job.file == 3);
    CHECK(api->stamp_file(files[3].fd, files[3].stamp) == 0);
    CHECK(api->read_rows(&job) == FO_READ_SHORT && job.file == 3);
    for (int k = 0; k < 4; k++) close(files[k].fd);
    job.done = 0;
    CHECK(api->read_rows(&job) == FO_READ_FAILED && job.error != 0);
    free(array); free(out); free(scratch);
}

static void outside(const fo_api *api)
{
    int64_t wide[3] = { 0, 9, -1 };
    uint32_t narrow[3] = { 9, 10, UINT32_MAX };
    CHECK(api->outside(wide, 1, 3, 10) == 2);
    CHECK(api->outside(narrow, 0, 3, 10) == 1);
    fo_pick picks[3], more[3];
    int64_t far[3] = { INT64_MAX - 1, 0, INT64_MAX - 2 };
    api->sort_picks(far, 1, 3, INT64_MAX, picks, more);
    CHECK(picks[0].row == 0 && picks[1].row == INT64_MAX - 2 && picks[2].row == INT64_MAX - 1);
}

static void csr(const fo_api *api)
{
    int32_t indptr[5] = { 0, 2, 2, 5, 6 }, indices[6] = { 3, 1, 0, 0, 2, 1 };
    char data[6][3] = { "ab", "cd", "ef", "gh", "ij", "kl" };
    fo_csr m = { indptr, indices, 0, data[0], 3, 4, 6 };
    uint32_t order[4] = { 2, 1, 0, 2 };
    int64_t starts[5], wide_indptr[5], wide_indices[8];
    char out[8][3];
    CHECK(api->csr_starts(&m, order, 0, 4, starts) == 8);
    api->csr_rows(&m, order, 0, 4, starts, 1, wide_indptr, wide_indices, out[0]);
    int64_t want[8] = { 0, 0, 2, 3, 1, 0, 0, 2 };
    CHECK(!memcmp(want, wide_indices, sizeof want) && wide_indptr[1] == 3 && wide_indptr[2] == 3 && wide_indptr[4] == 8);
    CHECK(!strcmp(out[0], "ef") && !strcmp(out[3], "ab") && !strcmp(out[7], "ij"));
    order[3] = 4;
    CHECK(api->csr_starts(&m, order, 0, 4, starts) == -4);
    indptr[2] = 1;
    CHECK(api->csr_starts(&m, order, 0, 2, starts) == -2);
    indptr[2] = 2, indptr[3] = 7;
    CHECK(api->csr_starts(&m, order, 0, 1, starts) == -1);
}

int main(void)
{
    const fo_api *api = fo_get_api();
    against_memory(api, 1, 64);
    against_memory(api, 12, 64);
    against_memory(api, 12, 1 << 16);
    against_memory(api, 5000, 1 << 14);
    outside(api);
    csr(api);
    printf(failures ? "%d failures\n" : "ok\n", failures);
    return failures != 0;
}
