#!/bin/sh
# Makes the pictures of the README again, from the run of `make demo`, with the commands that anybody would use:
#   sh tools/readme_pictures.sh
# The picture of the page needs Chromium (CHROMIUM=path); without it that one is left as it is.
set -eu
RUN=runs/demo
TIMESFORMER=${TIMESFORMER:-.venv/bin/timesformer}
CHROMIUM=${CHROMIUM:-chromium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ -e "$RUN/index.html" ] || "$TIMESFORMER" demo --output "$RUN"
"$TIMESFORMER" explain "$RUN/data/val/grow/grow_0000.mp4" --model "$RUN" --output "$work/explained"
cp "$work/explained/grow_0000.png" docs/images/explain.png
"$TIMESFORMER" timeline "$RUN/data/long.mp4" --model "$RUN" --window 0.5 --min-on 0.5 --to svg,json --output "$work/timeline"
cp "$work/timeline/long.svg" docs/images/timeline.svg
if command -v "$CHROMIUM" > /dev/null; then
    "$CHROMIUM" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/chromium" \
        --window-size=1040,1335 --screenshot=docs/images/demo.png "file://$PWD/$RUN/index.html" 2> "$work/chromium.log"
fi
