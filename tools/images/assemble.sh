#!/bin/sh
# In the image's build stage: puts the service beside its packages under /ballast, byte-compiled, without tests.
set -eu
service="$1"
app=/ballast/app
mkdir -p "$app/services"
cp -r libs build/gen "$app/"
cp services/__init__.py "$app/services/"
cp -r "services/$service" "$app/services/"
# The recorded prices belong to the service that replays them.
if [ "$service" = price_ingestion ]; then cp -r data "$app/"; fi

packages=$(/ballast/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Their own tests are a tenth of what scipy and numba weigh.
find "$packages/scipy" "$packages/numba" -name tests -type d -prune -exec rm -rf {} + 2>/dev/null || true
find "$app" \( -name tests -o -name __pycache__ \) -type d -prune -exec rm -rf {} +

sed "s/@SERVICE@/$service/" tools/images/start.sh > /ballast/bin/start
chmod 755 /ballast/bin/start
# Imports everything once: what is missing shows here, kernels compiled at import go into the image, and so does the
# bytecode of what was imported. The root is read-only where it runs: nothing is compiled there for a second start.
cd "$app"
env PYTHONPATH="$app:$app/gen" NUMBA_CACHE_DIR=/ballast/numba /ballast/bin/python -c "import services.$service.__main__"
# The margin kernel's machine code for as many scenarios as config/ has; other parameters are compiled at the start, in seconds.
if [ "$service" = risk_evaluation ]; then
    env PYTHONPATH="$app:$app/gen" NUMBA_CACHE_DIR=/ballast/numba /ballast/bin/python -c '
from pathlib import Path
from libs.common.config import load_parameters
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.sweep.live import warm_up
warm_up(build_model(load_parameters(Path("/build/config")).parameters))'
fi
/ballast/bin/python -m compileall -q "$app"
