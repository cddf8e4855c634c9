# A build of 150 files by make -j and gcc, built again, after a touch, and its program run; ar, ld, strip.
# Packages: make gcc libc6-dev
# Version: make --version
cd "$AREA"
for number in $(seq 150); do
    printf '#include "all.h"\nint f%d(int x) { return x + %d; }\n' "$number" "$number" >"f$number.c"
done
{ for number in $(seq 150); do echo "int f$number(int);"; done; } >all.h
{ echo '#include "all.h"'; echo '#include <stdio.h>'; echo 'int main(void) { int x = 0;'
  for number in $(seq 150); do echo "x = f$number(x);"; done; echo 'printf("%d\n", x); }'; } >main.c
cat >Makefile <<'MAKE'
OBJECTS := $(patsubst %.c,%.o,$(wildcard f*.c))
program: main.o all.a ; $(CC) -o $@ $^
all.a: $(OBJECTS) ; ar rcs $@ $^
%.o: %.c all.h ; $(CC) -g -c -o $@ $<
MAKE
make -s -j4
[ "$(./program)" = 11325 ]
make -q
touch f7.c
! make -q
[ "$(make -n | grep -c '^[a-z]*cc\|^cc\|^gcc')" -eq 2 ]
make -s -j4
strip program
[ "$(./program)" = 11325 ]
touch all.h
make -s -j4
mv "$AREA" "$MNT/tags/$REPO/"
[ "$("$MNT/versions/$REPO/1/program")" = 11325 ]
# Nothing is out of date for a build out of the version's tree.
make -q -C "$MNT/versions/$REPO/1"
# Nor in an area over it, until something is touched.
mkdir "$MNT/staging/$REPO/next@latest"
cd "$MNT/staging/$REPO/next@latest"
make -q
echo 'int more;' >>f7.c
make -s -j4
[ "$(./program)" = 11325 ]
