from fastopt._core.csrc cimport fo_api

cdef const fo_api *api() noexcept nogil
