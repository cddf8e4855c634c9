# Sources and cache in staging: the second build comes from the cache.
# Packages: ccache gcc libc6-dev
# Version: ccache --version
export CCACHE_DIR=$AREA/cache CCACHE_BASEDIR=$AREA
for number in $(seq 20); do echo "int f$number(void) { return $number; }" >"$AREA/f$number.c"; done
cd "$AREA"
for round in 1 2; do
    printf '%s\n' f*.c | xargs -P 4 -I{} ccache gcc -c {} -o {}.o
done
ccache --print-stats | grep -P '^(direct|preprocessed)_cache_hit\t' | awk '{ hits += $2 } END { exit hits != 20 }'
ccache --cleanup
