#!/bin/sh
# In the image's build stage: puts the service beside its packages under /opt/ballast, byte-compiled, without tests.
set -eu
service="$1"
app=/opt/ballast/app
mkdir -p "$app/services"
cp -r libs build/gen "$app/"
cp services/__init__.py "$app/services/"
cp -r "services/$service" "$app/services/"
# The recorded prices belong to the service that replays them.
if [ "$service" = price_ingestion ]; then cp -r data "$app/"; fi

packages=$(/opt/ballast/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Their own tests are a tenth of what scipy and numba weigh.
find "$packages/scipy" "$packages/numba" -name tests -type d -prune -exec rm -rf {} + 2>/dev/null || true
find "$app" \( -name tests -o -name __pycache__ \) -type d -prune -exec rm -rf {} +

sed "s/@SERVICE@/$service/" tools/images/start.sh > /opt/ballast/bin/start
chmod 755 /opt/ballast/bin/start
# The root is read-only where it runs: bytecode is made here, and checked against nothing.
/opt/ballast/bin/python -m compileall -q --invalidation-mode unchecked-hash "$packages" "$app" || true

# Imports everything once: what is missing shows here, and kernels compiled at import go into the image.
cd "$app"
env PYTHONPATH="$app:$app/gen" NUMBA_CACHE_DIR=/opt/ballast/numba PYTHONDONTWRITEBYTECODE=1 \
    /opt/ballast/bin/python -c "import services.$service.__main__"
