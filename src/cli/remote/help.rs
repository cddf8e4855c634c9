//! What `cairn remote --help` says.

pub(super) const HELP: &str = "\
A remote is a place of which `cairn sync` makes versions, or a bucket that holds whole repositories. Most declare their files with digests. The kind says how:
  sums       a checksum list, as `sha256sum` writes it; a URL that ends with `/` means SHA256SUMS there
  manifest   a PULP_MANIFEST (path,sha256,size), as Pulp writes it; a URL that ends with `/` means PULP_MANIFEST there
  debian     a Debian archive: the directory that holds `dists`. Versions hold `dists` and `pool`: apt installs from them
  directory  a directory of this machine, by its path
  archive    a tar archive of this machine (plain, gzip, xz or zstd), by the path of its file
  bucket     a bucket of S3 (s3://BUCKET/PREFIX), or a directory that is used like one: it holds whole repositories. A URL
             (https://HOST/PREFIX/) is that of a server or cache that shows such a bucket, to be read only

A bucket is tried before it is kept, by writing to it: whether it refuses an occupied name, also when 16 write at once,
whether it sends parts of objects, and whether what was written shows in lists. A store that ignores such conditions is
for one machine that pushes; `cairn remote show` says so. Key id and secret key are given as user and password.
A bucket at a URL is tried without a write: it can be pulled from, mounted with --edge and checked. What is pushed, deleted and
collected goes to the place behind the URL, as another remote.

A directory and an archive declare nothing, so all of them is read, as `cairn import` reads it: versions hold types, modes,
owners, times, links and extended attributes as well. The daemon reads them, with the rights of the user it runs as, and
only root and that user may add, change and sync such a remote. A file that did not change since the last sync (inode,
size and times) is not read again, nor is an archive. Neither can be in the mount of the store itself, which `cairn
import` can read. A policy other than immediate, logins, rates and timeouts mean nothing to them.

Of a Debian archive a sync takes the packages of each --suite, --component and --architecture, packages for
all architectures, descriptions in each --language, and with --sources the source packages. A suite that
ends with `/` (`./`) is a flat archive, without components. With --keyring one of its keys must have signed
each suite, which gpgv checks; without it no signature is checked, and each sync warns. Not taken are
Contents, dep11, other indexes, and differences between indexes (pdiff). apt asks for the indexes of all
architectures of its machine: if the version has fewer, say so in sources.list (`deb [arch=amd64] ...`).

`cairn remote gc` removes from a bucket what no version in it needs, beside those who push and read. What nobody has needed
for seven days is marked, so that no push uses it any more, and deleted at the first run seven days after that: run it
regularly. Objects that are none of cairn's stay.

With --sign-key, what is published in a bucket is signed (`cairn push`, `cairn remote gc`), by an SSH key in a file, or, where that is
a .pub file, by the agent of the daemon's environment. With --allowed-signers, a file as in ssh-keygen(1), a signature counts only if
it is of a key on that list; with --require-signed, nothing is believed that is not signed. Without that, whoever may write to the
bucket needs no key. The times of that file (valid-before) are compared with the time in the event, which is its signer's word: take
a key that somebody else may have off the list. An event that is not believed ends the reading of its log: nothing is pulled, and
nothing pushed. What a repository pulled or pushed before is not asked again.

What was read of a log is remembered. When it is older or another one later, or the bucket is another one, that is an alarm: nothing is
taken from it. `cairn remote accept` goes on knowingly: it takes what the bucket holds of a repository now for the truth, signed or
not. Versions that are here stay as they are; where the bucket has others under their numbers, a pull still refuses.

`cairn remote fsck` reads the logs of a bucket, and looks whether all is there that its versions need and is what its name
says. It fails if something is wrong, and says which versions are concerned.

Passwords and tokens are never given on the command line, nor kept: the daemon reads them when it needs them, from a file
that only its owner may read (mode 0600) or from a variable of its own environment. They go to the remote's own host
and port alone, wherever it redirects to. HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the daemon's environment are used.

A try fails when no connection is made within --connect-timeout, when nothing comes for --idle-timeout, or
when a file comes slower than --lowest-rate over that time. The next try goes on where that one ended. After
five tries in a row without progress the file has failed. A content that another sync is fetching is not
fetched a second time; only if it comes from another remote, and slower than 64K per second, this sync
fetches it itself.

With --policy on_demand a sync fetches lists and indexes only, and a pull from a bucket the trees. The version is complete to look at; the
daemon fetches a file when it is first read, checks it and keeps it. If no remote can give it, the read fails
with an I/O error and is not tried again for ten seconds. `cairn status` counts contents that were not
fetched yet. With --policy streamed what was read is kept as a cache only: when there is more of it than the
--cache-size of `cairn mount`, or the disk has no room for what is read now, what was used the longest time
ago is dropped, and fetched again when it is read again. `cairn remote remove` refuses while versions need
the remote (--force). Both want a kind that declares sizes: manifest, debian, bucket. A change of the policy applies from the next sync
or pull on; if that is to immediate, it fetches what is absent. Small files of a bucket that are beside one that is read come with it.

JSON
  list, add, show, set: an array of {remote, kind, url, login, ca_file, client_certificate {certificate_file,
  key_file}, rate_bytes_per_second, connections, policy, connect_timeout_ms, idle_timeout_ms, lowest_bytes_per_second, debian {suites,
  components, architectures, languages, with_sources, keyring_file, allow_expired}, bucket {endpoint, region,
  virtual_hosted, creates_once, signing_key_file, allowed_signers_file, require_signed}, edge {chosen, poll_ms, bucket_id}}, without what is not set; login is
  {\"basic\": {user, password}} or {\"bearer\":
  {token}}, password and token are {\"file\": PATH} or {\"environment\": NAME};
  test: {remote, usable, failure, declared_file_count, has_sizes, conditional, ranges, creates_once, lists_at_once,
  notes (texts)};
  fsck: {remote, repository_count, version_count, object_count, read_bytes, finding_count, notes (texts, 1000 at most)};
  gc: {remote, dry_run, object_count, stranger_count, candidate_count, candidate_bytes, condemned_count, waiting_count,
  deleted_count, deleted_bytes};
  accept: {remote, repository}; remove: {remote}

EXAMPLES
  cairn remote add releases sums https://example.org/releases/
  cairn remote add tree directory /srv/tree
  cairn remote add ball archive ./release.tar.zst
  cairn remote add store bucket /srv/bucket
  cairn remote add mirror bucket https://mirror.example.org/cairn/
  cairn remote add amazon bucket s3://releases/cairn --user KEYID --password-file /etc/cairn/key
  cairn remote add isos manifest https://example.org/isos/ --user ci --password-file /etc/cairn/isos
  cairn remote add flat debian https://example.org/deb --suite ./ --keyring /etc/cairn/deb.asc
  cairn remote set flat --suite bookworm --component main,contrib --architecture amd64,arm64
  cairn remote set isos --limit-rate 50M --policy on_demand
  cairn remote test isos
  cairn remote gc store --dry-run
  cairn remote fsck store --content
  cairn remote set store --allowed-signers /etc/cairn/signers --require-signed
  cairn remote set store --sign-key /etc/cairn/ci
  cairn remote accept store tools
  cairn remote list --json
  cairn remote set isos --no-limit-rate
  cairn remote set isos --idle-timeout 5m --lowest-rate 0
  cairn remote remove isos";
