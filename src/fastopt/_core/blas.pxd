from fastopt._core.csrc cimport fo_blas

cdef const fo_blas *blas() except NULL
