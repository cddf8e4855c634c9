//! Each call does what it says.

use std::os::fd::AsFd;

use super::*;

#[test]
fn copies_keep_holes_and_content() {
    let source = tempfile::tempfile().unwrap();
    source.write_all_at(b"start", 0).unwrap();
    source.write_all_at(b"middle", 1 << 20).unwrap();
    source.set_len(2 << 20).unwrap();
    let target = tempfile::tempfile().unwrap();
    copy_range(&source, &target, 2 << 20).unwrap();
    let read = |file: &File| {
        let mut bytes = vec![1; 2 << 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    assert_eq!(target.metadata().unwrap().len(), 2 << 20);
    assert!(read(&source) == read(&target));
    assert_eq!(seek_hole_data(&target, 1 << 19, false).unwrap(), Some(1 << 20));
    assert_eq!(seek_hole_data(&target, 3 << 19, false).unwrap(), None);

    let part = tempfile::tempfile().unwrap();
    copy_range(&source, &part, 3).unwrap();
    assert_eq!(part.metadata().unwrap().len(), 3);
    let error = copy_range(&source, &part, 3 << 20).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn copying_by_hand_works_where_the_kernel_cannot() {
    let source = tempfile::tempfile().unwrap();
    source.write_all_at(b"abcdef", 0).unwrap();
    let target = tempfile::tempfile().unwrap();
    copy_by_hand(&source, 1, &target, 2, 3).unwrap();
    let mut bytes = [0; 5];
    target.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"\0\0bcd");
}

#[test]
fn files_travel_with_their_bytes() {
    let (here, there) = UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(b"sent", 0).unwrap();
    assert_eq!(send_fds(&here, b"hello", &[file.as_fd(), file.as_fd()]).unwrap(), 5);
    let mut buffer = [0; 16];
    let (bytes, files) = recv_fds(&there, &mut buffer).unwrap();
    assert_eq!((&buffer[..bytes], files.len()), (&b"hello"[..], 2));
    let mut content = [0; 4];
    File::from(files.into_iter().next().unwrap()).read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"sent");
    drop(here);
    assert_eq!(recv_fds(&there, &mut buffer).unwrap().0, 0);
    assert!(send_fds(&there, b"", &[file.as_fd()]).is_err());
}

#[test]
fn unknown_fallocate_modes_are_refused() {
    let file = tempfile::tempfile().unwrap();
    fallocate(&file, 0, 0, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4096);
    assert!(fallocate(&file, 1 << 20, 0, 4096).is_err());
}

#[test]
fn the_machine_answers() {
    let (here, _there) = UnixStream::pair().unwrap();
    let peer = peer_credentials(&here).unwrap();
    assert_eq!(peer.pid, std::process::id());
    let mut own: Vec<u32> =
        rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
    let mut groups = peer_groups(&here).unwrap();
    own.sort_unstable();
    groups.sort_unstable();
    assert_eq!(groups, own);
    assert!(statvfs(Path::new("/")).unwrap().block_size > 0);
    assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    assert_ne!(new_uuid().unwrap(), new_uuid().unwrap());
}
