//! Debian archives, made by `apt-ftparchive`, mirrored, and used by `apt` itself (V1 to V9, H26 to H28)

mod apt;
mod archive;
mod mirrored;
mod refused;
mod signed;
