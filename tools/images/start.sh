#!/bin/sh
# Starts the service as the process the signals go to.
# The cache of compiled kernels must be writable, or numba refuses it; the root is not.
if [ -d /opt/ballast/numba ] && [ ! -d /tmp/numba ]; then cp -a /opt/ballast/numba /tmp/numba; fi
exec /opt/ballast/bin/python -m services.@SERVICE@ "$@"
