#!/bin/sh
# Starts the service as the process the signals go to.
# The cache of compiled kernels must be writable, or numba refuses it; the root is not.
if [ -d /ballast/numba ] && [ ! -d "$NUMBA_CACHE_DIR" ]; then cp -a /ballast/numba "$NUMBA_CACHE_DIR"; fi
exec /ballast/bin/python -m services.@SERVICE@ "$@"
