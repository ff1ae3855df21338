/* search.h: placeholder of the contract */
#ifndef FO_SEARCH_H
#define FO_SEARCH_H
#include <stddef.h>
enum { FO_BACKTRACKING, FO_WOLFE, FO_HAGER_ZHANG, FO_SEARCHES };
enum { FO_SEARCH_EVALUATE, FO_SEARCH_DONE, FO_SEARCH_FAILED };
enum { FO_SEARCH_OK, FO_SEARCH_UNBOUNDED };
typedef struct fo_search {
    int kind;
    double f0, df0, reference, first, min_alpha, max_alpha, c1, c2, eps_f, scale_f;
    int approximate, max_trials;
    double alpha, f, df;
    int want_slope, trials, why, bad;
    int resume, spare;
    double lo, hi;
} fo_search;
int fo_search_advance(fo_search *q, double f, double df);
void fo_search_begin(fo_search *q);
double fo_first_quadratic(double f, double f_old, double slope, double alpha_old);
#endif
