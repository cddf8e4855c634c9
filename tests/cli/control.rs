//! Server and client together.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use cairn::control::client::{Client, Connection, SOCKET_NAME};
use cairn::control::frame;
use cairn::control::import::{ImportId, ImportRequest};
use cairn::control::places::CONNECTIONS_MAX;
use cairn::control::protocol::{
    ControlError, ErrorDetail, ErrorKind, Progress, Request, ServerMessage,
};
use cairn::control::reply::Reply;
use cairn::control::server::decode;
use cairn::control::service::Attachment;
use proptest::prelude::*;

use crate::fake::{Running, run, serve, serve_at, serve_with};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn client(running: &Running) -> Client {
    Client::connect(running.store.path()).unwrap().unwrap()
}

fn ask(client: &mut Client, request: &Request) -> Result<Reply, ControlError> {
    let (reply, _) = client.call(request, &Attachment::none(), &mut |_| {})?;
    Ok(reply)
}

fn stage(name: &str) -> Request {
    Request::Stage { repository: "web".parse().unwrap(), name: name.parse().unwrap(), from: None }
}

#[test]
fn files_and_payloads_travel_both_ways() {
    let running = serve();
    let mut client = client(&running);
    assert_eq!(client.hello().pid, std::process::id());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"inside").unwrap();
    file.rewind().unwrap();
    let attachment =
        Attachment { payload: b"before, ".to_vec(), files: vec![file.try_clone().unwrap()] };
    let request = Request::Import(ImportRequest::Abort { import: ImportId(1) });
    let (reply, mut answer) = client.call(&request, &attachment, &mut |_| {}).unwrap();
    assert_eq!(reply, Reply::Done);
    assert_eq!(answer.payload, b"before, inside");
    answer.files[0].rewind().unwrap();
    let mut text = String::new();
    answer.files[0].read_to_string(&mut text).unwrap();
    assert_eq!(text, "inside, answered");
}

#[test]
fn progress_comes_before_the_reply() {
    let running = serve();
    let mut client = client(&running);
    let request = Request::Diff {
        repository: "web".parse().unwrap(),
        first: "3".parse().unwrap(),
        other_repository: "web".parse().unwrap(),
        second: "latest".parse().unwrap(),
    };
    let mut changes = 0;
    let mut progress = |step: Progress| {
        if let Progress::Changes(some) = step {
            changes += some.len();
        }
    };
    let (reply, _) = client.call(&request, &Attachment::none(), &mut progress).unwrap();
    assert!(matches!(reply, Reply::Diff(_)));
    assert_eq!(changes, 3);
}

#[test]
fn an_error_leaves_the_connection_usable() {
    let running = serve();
    let mut client = client(&running);
    let missing =
        Request::Show { repository: "web".parse().unwrap(), version: "9".parse().unwrap() };
    assert_eq!(ask(&mut client, &missing).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(ask(&mut client, &stage("panic")).unwrap_err().kind, ErrorKind::Failed);
    assert!(matches!(ask(&mut client, &Request::Status), Ok(Reply::Status(_))));
}

#[test]
fn the_end_of_a_connection_is_told() {
    let running = serve();
    let mut client = client(&running);
    ask(&mut client, &Request::Status).unwrap();
    drop(client);
    running.ended.recv_timeout(PATIENCE).unwrap();
}

fn raw(running: &Running) -> UnixStream {
    let stream = UnixStream::connect(running.store.path().join(SOCKET_NAME)).unwrap();
    frame::receive(&stream).unwrap().unwrap();
    stream
}

#[test]
fn unknown_requests_are_refused_with_a_reason() {
    let running = serve();
    let stream = raw(&running);
    for json in [
        "{\"frobnicate\":{}}",
        "",
        "[",
        "{\"show\":{\"repository\":\"../x\",\"version\":\"7\"}}",
        "{\"show\":{\"repository\":\"web\",\"version\":\"07\"}}",
    ] {
        frame::send(&stream, json.as_bytes(), b"", &[]).unwrap();
        let answer = frame::receive(&stream).unwrap().unwrap();
        let answer: ServerMessage = serde_json::from_slice(&answer.json).unwrap();
        let ServerMessage::Error(error) = answer else {
            panic!("{json}: {answer:?}");
        };
        assert_eq!(error.kind, ErrorKind::Usage, "{json}");
        assert!(error.message.contains("does not understand"), "{error:?}");
    }
}

#[test]
fn a_broken_frame_ends_only_its_own_connection() {
    let running = serve();
    let mut stream = raw(&running);
    stream.write_all(&[0xff; 64]).unwrap();
    running.ended.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(ask(&mut client(&running), &Request::Status), Ok(Reply::Status(_))));
}

#[test]
fn more_connections_than_the_limit_are_told_busy() {
    let running = serve();
    let mut clients: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| client(&running)).collect();
    let error = Client::connect(running.store.path()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(matches!(ask(&mut clients[0], &Request::Status), Ok(Reply::Status(_))));
    clients.pop();
    running.ended.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn the_connection_that_idles_longest_makes_room_for_another() {
    let store = tempfile::tempdir().unwrap();
    let socket = store.path().join(SOCKET_NAME);
    let running = serve_with(store, &socket, Duration::ZERO);
    let mut clients: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| client(&running)).collect();
    assert!(ask(&mut clients[0], &Request::Status).is_ok());
    // One is being answered, which takes as long as it takes.
    let mut busy = clients.remove(1);
    let asked = std::thread::spawn(move || ask(&mut busy, &stage("slow")));
    running.begun.recv_timeout(PATIENCE).unwrap();
    assert!(ask(&mut client(&running), &Request::Status).is_ok());
    running.ended.recv_timeout(PATIENCE).unwrap();
    assert!(ask(&mut clients[1], &Request::Status).is_err(), "it was the longest");
    assert!(ask(&mut clients[0], &Request::Status).is_ok());
    running.go.send(()).unwrap();
    assert!(asked.join().unwrap().is_ok());
}

#[test]
fn other_users_are_refused() {
    assert!(rustix::process::geteuid().is_root(), "only root can become somebody else");
    let running = serve();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let socket = running.store.path().join(SOCKET_NAME);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let store = running.store.path().to_owned();
    // The credentials of one thread: the rest of this process stays root.
    let connect = move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        Client::connect(&store).map(|_| ())
    };
    let by_mode = std::thread::spawn(connect.clone()).join().unwrap().unwrap_err();
    assert!(by_mode.message.contains("permission denied"), "{by_mode:?}");
    open(running.store.path(), 0o755);
    open(&socket, 0o666);
    let by_uid = std::thread::spawn(connect).join().unwrap().unwrap_err();
    assert_eq!(by_uid.kind, ErrorKind::Permission);
    assert!(by_uid.message.contains("uid 65534"), "{by_uid:?}");
}

#[test]
fn stopping_lets_the_request_in_hand_end() {
    let running = serve();
    let mut asking = client(&running);
    let idle = client(&running);
    let asked = std::thread::spawn(move || ask(&mut asking, &stage("slow")));
    running.begun.recv_timeout(PATIENCE).unwrap();
    let store = running.store;
    let stopping = std::thread::spawn(move || running.server.stop());
    // Idle connections end at once, which shows that stopping has begun.
    running.ended.recv_timeout(PATIENCE).unwrap();
    running.go.send(()).unwrap();
    assert!(matches!(asked.join().unwrap(), Ok(Reply::Area(_))));
    stopping.join().unwrap();
    drop(idle);
    assert!(!store.path().join(SOCKET_NAME).exists());
    assert!(Client::connect(store.path()).unwrap().is_none());
}

#[test]
fn a_dead_daemons_socket_is_replaced() {
    let store = tempfile::tempdir().unwrap();
    let socket = store.path().join(SOCKET_NAME);
    drop(UnixListener::bind(&socket).unwrap());
    assert!(Client::connect(store.path()).unwrap().is_none());
    let running = serve_at(store, &socket);
    assert!(matches!(ask(&mut client(&running), &Request::Status), Ok(Reply::Status(_))));
}

#[test]
fn a_long_path_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("x".repeat(120));
    std::fs::create_dir(&store).unwrap();
    let running = serve_at(directory, &store.join(SOCKET_NAME));
    let mut client = Client::connect(&store).unwrap().unwrap();
    assert!(matches!(ask(&mut client, &Request::Status), Ok(Reply::Status(_))));
    running.server.stop();
    assert!(Client::connect(&store).unwrap().is_none());
}

/// Answers as a daemon of protocol 1 does: greets, and says that it has done one thing that it is asked.
fn old_daemon(listener: UnixListener) -> std::thread::JoinHandle<Option<Vec<u8>>> {
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let hello = br#"{"hello":{"protocol":1,"pid":1,"version":"0.0.9"}}"#;
        frame::send(&stream, hello, &[], &[]).unwrap();
        let asked = frame::receive(&stream).ok().flatten()?;
        frame::send(&stream, br#"{"reply":"done"}"#, &[], &[]).unwrap();
        Some(asked.json)
    })
}

#[test]
fn a_daemon_of_another_protocol_is_asked_nothing_and_named() {
    let store = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(store.path().join(SOCKET_NAME)).unwrap();
    let daemon = old_daemon(listener);
    let output = run(store.path(), &["list"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cairn 0.0.9 and speaks protocol 1"), "{errors}");
    assert!(errors.contains("unmount and mount again"), "{errors}");
    assert_eq!(daemon.join().unwrap(), None);
}

#[test]
fn a_daemon_of_another_protocol_can_be_stopped() {
    let store = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(store.path().join(SOCKET_NAME)).unwrap();
    let daemon = old_daemon(listener);
    let mut client = Client::connect_to_stop(store.path()).unwrap().unwrap();
    assert_eq!(ask(&mut client, &Request::Shutdown), Ok(Reply::Done));
    assert_eq!(daemon.join().unwrap().unwrap(), br#""shutdown""#, "as in every protocol");
    let save = serde_json::to_string(&Request::Save { give_up: true }).unwrap();
    assert_eq!(save, r#"{"save":{"give_up":true}}"#, "as in every protocol");
}

#[test]
fn without_a_daemon_the_store_is_opened_here() {
    let store = tempfile::tempdir().unwrap();
    let refused = Connection::open(store.path(), |_| {
        Err(ControlError::new(ErrorKind::StoreUnusable, "not a store"))
    });
    assert_eq!(refused.unwrap_err().kind, ErrorKind::StoreUnusable);
}

#[test]
fn a_store_that_another_command_holds_is_waited_for() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let store = tempfile::tempdir().unwrap();
    let refused = Connection::open(store.path(), |_| {
        let locked = ControlError::new(ErrorKind::StoreUnusable, "locked");
        match TRIES.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(locked.with_detail(ErrorDetail::Locked { pid: Some(1) })),
            _ => Err(ControlError::new(ErrorKind::Failed, "third try")),
        }
    });
    assert_eq!(refused.unwrap_err().message, "third try");
}

proptest! {
    #[test]
    fn hostile_requests_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        drop(decode(&bytes));
    }

    #[test]
    fn hostile_json_never_panics(
        verb in "(status|show|diff|import|stage|gc|commit)",
        field in "(repository|version|put|begin|entries|path|bytes)",
        value in "[\\PC]{0,30}",
        number in any::<i64>(),
    ) {
        for inner in [serde_json::json!(value), serde_json::json!(number), serde_json::json!([number])] {
            let json = serde_json::json!({ verb.clone(): { field.clone(): inner } });
            drop(decode(json.to_string().as_bytes()));
        }
    }
}

/// A file passed by mistake must not leak: the server closes what no request takes.
#[test]
fn unused_files_are_closed() {
    let running = serve();
    let mut client = client(&running);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let attachment = Attachment::of_files(vec![File::from(std::os::fd::OwnedFd::from(writer))]);
    client.call(&Request::Status, &attachment, &mut |_| {}).unwrap();
    drop(attachment);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}
