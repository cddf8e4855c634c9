# dpkg-buildpackage of a small source package, dpkg --root install, upgrade, verify, purge, and the
# installed root as a version that a chroot runs from.
# Packages: dpkg-dev make gcc libc6-dev
# Version: dpkg-query -Wf 'dpkg ${Version}' dpkg
cd "$AREA"
mkdir -p hello/debian/source
cd hello
printf '#include <stdio.h>\nint main(void) { puts("hello from a package"); }\n' >hello.c
cat >debian/control <<'CONTROL'
Source: hello
Section: misc
Priority: optional
Maintainer: Nobody <nobody@example.org>
Standards-Version: 4.6.2

Package: hello
Architecture: any
Description: greets
 A program for a test.
CONTROL
printf 'hello (1.0) unstable; urgency=low\n\n  * First.\n\n -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n' >debian/changelog
echo '3.0 (native)' >debian/source/format
cat >debian/rules <<'RULES'
#!/usr/bin/make -f
build build-arch build-indep: ; gcc -static -o hello hello.c
binary-indep: ;
binary binary-arch: build
	rm -rf debian/hello && mkdir -p debian/hello/DEBIAN debian/hello/usr/bin debian/hello/etc
	cp hello debian/hello/usr/bin/ && echo setting >debian/hello/etc/hello.conf
	echo /etc/hello.conf >debian/hello/DEBIAN/conffiles
	dpkg-gencontrol -Pdebian/hello
	dpkg --build debian/hello ..
clean: ; rm -rf hello debian/hello debian/files
RULES
chmod +x debian/rules
dpkg-buildpackage -us -uc -d
cd ..
ls -- *.deb *.dsc *.changes *.tar.xz
dpkg-source -x hello_1.0.dsc unpacked
dpkg-deb -I hello_1.0_*.deb

root=$AREA/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
touch "$root/var/lib/dpkg/status"
dpkg --root="$root" --force-depends --log=/dev/null -i hello_1.0_*.deb
dpkg --root="$root" -V hello
[ "$("$root/usr/bin/hello")" = 'hello from a package' ]
dpkg --root="$root" --force-depends -i hello_1.0_*.deb

cp -a root root2
dpkg --root="$AREA/root2" --purge hello
[ ! -e root2/usr/bin/hello ] && [ ! -e root2/etc/hello.conf ]

mv "$AREA" "$MNT/tags/$REPO/"
[ "$(chroot "$MNT/versions/$REPO/1/root" /usr/bin/hello)" = 'hello from a package' ]
dpkg --root="$MNT/versions/$REPO/1/root" -V hello
