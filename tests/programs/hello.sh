# dpkg-buildpackage of Debian's own source package hello, with debhelper and autoconf's configure.
# Packages: dpkg-dev debhelper texinfo gcc libc6-dev make
# Version: dpkg-buildpackage --version
# Needs: network
cd "$AREA"
sources=$PLAIN/sources.list
printf 'deb-src http://deb.debian.org/debian %s main\n' "$(. /etc/os-release && echo "$VERSION_CODENAME")" >"$sources"
mkdir -p "$PLAIN/lists/partial"
apt=(apt-get -qq -o "Dir::Etc::SourceList=$sources" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$PLAIN/lists" -o APT::Sandbox::User=root)
"${apt[@]}" update
"${apt[@]}" source hello
cd hello-*/
DEB_BUILD_OPTIONS=parallel=2 dpkg-buildpackage -us -uc -b -d
cd ..
dpkg-deb -x hello_*.deb out
[ "$(out/usr/bin/hello --greeting=built)" = built ]
