//! nginx on loopback: a real server and a real cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::wait;

/// An nginx that is stopped when this is dropped.
pub struct Nginx {
    home: tempfile::TempDir,
    process: Child,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Nginx {
    /// Serves a directory by plain HTTP.
    pub fn of(directory: &Path) -> Self {
        let server = format!("server {{ listen 8080; root {}; }}", directory.display());
        Self::launch(tempfile::tempdir().unwrap(), &server)
    }

    /// With what its configuration says at the level of `http`, where `listen 8080` becomes a free port of loopback. What
    /// it writes it writes into `home`.
    pub fn launch(home: tempfile::TempDir, http: &str) -> Self {
        let top = home.path();
        // A free port: taken, and let go of right before.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home_path = top.display();
        let http = http.replace("listen 8080", &format!("listen 127.0.0.1:{port}"));
        let configuration = format!(
            "daemon off; master_process off; pid {home_path}/pid; error_log stderr; events {{}}
             http {{
               access_log {home_path}/access.log; client_body_temp_path {home_path}/t1; proxy_temp_path {home_path}/t2;
               fastcgi_temp_path {home_path}/t3; uwsgi_temp_path {home_path}/t4; scgi_temp_path {home_path}/t5;
               {http}
             }}"
        );
        fs::write(top.join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(top).arg("-c").arg(top.join("nginx.conf")).stderr(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error} (scripts/packages installs it)"));
        let nginx = Self { process, port, home };
        wait::until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        nginx
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a directory is served.
    pub fn plain_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests that were answered, each as its first line and the status.
    pub fn answered(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("access.log")).unwrap();
        let parts = log.lines().filter_map(|line| {
            let mut parts = line.split('"').skip(1);
            Some(format!(
                "{}{}",
                parts.next()?,
                parts.next()?.split(' ').take(2).collect::<Vec<_>>().join(" ")
            ))
        });
        parts.collect()
    }

    /// A file of its home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}
