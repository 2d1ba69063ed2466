//! What stands before the provider: nothing, nginx, a node of this project.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, TOKEN, free_address};

use crate::load::Target;

/// Something that leads to the provider.
pub(crate) trait Proxy {
    fn name(&self) -> &'static str;
    /// Whom to ask, and how.
    fn target(&self) -> Target;
    /// Ids of its processes.
    fn ids(&self) -> Vec<u32>;

    /// Its processor time so far.
    fn cpu(&self) -> Duration {
        self.ids().into_iter().map(cpu_of).sum()
    }
}

fn target(address: SocketAddr, path: &str) -> Target {
    let head = format!(
        "POST {path}/v1/chat/completions HTTP/1.1\r\nhost: {address}\r\n\
         authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n"
    );
    Target { address, head }
}

/// Nothing.
pub(crate) struct Direct(pub(crate) SocketAddr);

impl Proxy for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn target(&self) -> Target {
        target(self.0, "")
    }

    fn ids(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// nginx with a process for each processor, as its packages have it.
pub(crate) struct Nginx {
    address: SocketAddr,
    child: Child,
    _directory: Directory,
}

impl Nginx {
    pub(crate) fn start(provider: SocketAddr) -> Nginx {
        let (directory, address) = (Directory::new("nginx"), free_address());
        let folder = directory.0.display();
        let text = format!(
            "daemon off;\nworker_processes auto;\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n access_log off;\n keepalive_requests 100000000;\n\
             client_body_temp_path {folder}/b;\n proxy_temp_path {folder}/p;\n\
             fastcgi_temp_path {folder}/f;\n uwsgi_temp_path {folder}/u;\n scgi_temp_path {folder}/s;\n\
             upstream provider {{ server {provider}; keepalive 256; keepalive_requests 100000000; }}\n\
             server {{ listen {address};\n location / {{\n proxy_pass http://provider;\n\
             proxy_http_version 1.1;\n proxy_set_header Connection \"\";\n\
             proxy_set_header Authorization \"Bearer key\";\n }} }}\n}}\n"
        );
        let config = directory.0.join("nginx.conf");
        std::fs::write(&config, text).expect("a directory of its own");
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&config)
            .args(["-p", &folder.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is not installed: apt-get install nginx-light");
        let nginx = Nginx { address, child, _directory: directory };
        eventually("nginx listens", || {
            std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        drop(Command::new("kill").args(["-QUIT", &id]).status());
        drop(self.child.wait());
    }
}

impl Proxy for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn target(&self) -> Target {
        target(self.address, "")
    }

    fn ids(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|id| id.parse().ok()).chain([id]).collect()
    }
}

/// A node with a pool of one account: default settings, so that what is measured is what one gets.
pub(crate) struct Quorate(Node);

impl Quorate {
    pub(crate) fn start(provider: SocketAddr) -> Quorate {
        let pool = format!("[pools.demo]\nmembers = [\"one\"]\nupstream = \"http://{provider}\"\n");
        let mut node = Node::new("a", &[], &pool);
        let folder = node.data().join("auths");
        std::fs::create_dir_all(&folder).expect("a folder of its own");
        std::fs::write(folder.join("one.json"), r#"{"type":"openai","api_key":"key"}"#)
            .expect("a folder of its own");
        node.start_ready();
        eventually("the account can serve", || {
            let pool = node.get("/v1/pools/demo");
            if pool.pointer("/ready").is_some_and(|ready| *ready == 1) {
                Ok(())
            } else {
                Err(pool.to_string())
            }
        });
        Quorate(node)
    }
}

impl Proxy for Quorate {
    fn name(&self) -> &'static str {
        "quorate"
    }

    fn target(&self) -> Target {
        target(self.0.http, "/gateway/demo")
    }

    fn ids(&self) -> Vec<u32> {
        self.0.process_id().into_iter().collect()
    }
}

/// User and system time of a process, in ticks of ten milliseconds.
fn cpu_of(id: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
