//! A wire between two programs that delays what passes, each piece for a random while and each direction by
//! itself, so that windows of microseconds become wide enough to be hit. Keeps the order; knows no protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rand::Rng;

/// Accepts on a port of its own and connects to `to`, for as long as the process lives. Delays are below `longest`.
pub fn start(to: SocketAddr, longest: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else { continue };
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || carry(from_client, server, longest));
            std::thread::spawn(move || carry(from_server, client, longest));
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, longest: Duration) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        std::thread::sleep(longest.mul_f64(rand::rng().random_range(0.0..1.0)));
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
