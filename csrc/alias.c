/* alias.c: the table from which numbers with given chances are drawn in constant time.
 *
 * M. D. Vose, A linear algorithm for generating random numbers with a given distribution, IEEE Trans. Software Engineering 17 (1991).
 * Departures: thresholds are integers; rows of weight 0 are never drawn, whatever rounding leaves over.
 */
#include "permute.h"

void fo_alias(const double *weights, int64_t n, uint64_t *threshold, int64_t *other, double *share, int64_t *work)
{
    double largest = 0, total = 0;
    int64_t heaviest = 0, small = 0, large = n;           /* work: the small ones from the front, the large ones from the back */
    for (int64_t i = 0; i < n; i++)
        if (weights[i] > largest) {
            largest = weights[i];
            heaviest = i;
        }
    for (int64_t i = 0; i < n; i++) total += weights[i] / largest;
    for (int64_t i = 0; i < n; i++) {
        share[i] = weights[i] / largest / total * (double)n;
        if (share[i] < 1) work[small++] = i;
        else work[--large] = i;
    }
    while (small > 0 && large < n) {
        const int64_t s = work[--small], g = work[large];
        threshold[s] = (uint64_t)(share[s] * 18446744073709551616.0);             /* of 2^64 */
        other[s] = g;
        share[g] = share[g] + share[s] - 1;
        if (share[g] < 1) {
            large++;
            work[small++] = g;
        }
    }
    for (int64_t i = 0; i < small; i++) {                 /* what is left would be 1 but for rounding */
        threshold[work[i]] = weights[work[i]] > 0 ? UINT64_MAX : 0;
        other[work[i]] = weights[work[i]] > 0 ? work[i] : heaviest;
    }
    for (; large < n; large++) {
        threshold[work[large]] = UINT64_MAX;
        other[work[large]] = work[large];
    }
}
