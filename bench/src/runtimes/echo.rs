//! The cost of the `Runtime` trait: an echo on a plain runtime, and the same through the trait.

use crate::report::{Row, Runs};
use crate::stopwatch::{Stopwatch, process_time, thread_time};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

const THREADS: usize = 2;
const CLIENTS: usize = 8;
const MESSAGE_BYTES: usize = 64;

/// The ways to serve an echo, in pairs: the first of each runs on tokio, the second on smol.
const WAYS: [(&str, [Way; 2]); 2] =
    [("plain runtime", [plain_tokio, plain_smol]), ("through the trait", [on_tokio, on_smol])];

/// Serves so many echoes to each client.
type Way = fn(u32) -> io::Result<Measured>;

struct Measured {
    echoes_a_second: f64,
    /// The processor time of the server for one echo, in microseconds.
    server_micros: f64,
}

pub(super) fn rows(quick: bool) -> Result<Vec<Row>, String> {
    let (rounds, echoes) = if quick { (3, 300) } else { (11, 10_000) };
    let mut found: Vec<(String, Runs)> = Vec::new();
    for round in 0..rounds {
        for (name, pair) in WAYS {
            // The first of one round is the last of the next.
            let mut measured = [None, None];
            for at in [round % 2, 1 - round % 2] {
                measured[at] = Some(pair[at](echoes).map_err(|error| format!("an echo, {name}: {error}"))?);
            }
            let [Some(tokio), Some(smol)] = measured else { continue };
            for (what, of) in [
                ("echo, CPU us each", (|m| m.server_micros) as fn(&Measured) -> f64),
                ("echoes a second, 8 clients", |m| m.echoes_a_second),
            ] {
                let row = format!("{what}, {name}");
                let at = found.iter().position(|(known, _)| *known == row).unwrap_or_else(|| {
                    found.push((row, Runs::default()));
                    found.len() - 1
                });
                found[at].1.ours.push(of(&tokio));
                found[at].1.theirs.push(of(&smol));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found.into_iter().map(|(name, runs)| runs.row(name, "", None)).collect())
}

/// Lets clients on threads of their own call a server in this process.
fn call(server: SocketAddr, echoes: u32) -> io::Result<Measured> {
    let before = process_time().as_secs_f64();
    let watch = Stopwatch::start();
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(move || client(server, echoes))).collect();
    let mut of_clients = 0.0;
    for client in clients {
        of_clients += client.join().map_err(|_| io::Error::other("a client panicked"))??;
    }
    let (elapsed, all) = (watch.nanos() / 1e9, f64::from(echoes) * CLIENTS as f64);
    let server = process_time().as_secs_f64() - before - of_clients;
    Ok(Measured { echoes_a_second: all / elapsed, server_micros: server * 1e6 / all })
}

/// Returns the processor time of this client, in seconds.
fn client(server: SocketAddr, echoes: u32) -> io::Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let mut answer = [0; MESSAGE_BYTES];
    for number in 0..echoes {
        let message = [number as u8 ^ 1; MESSAGE_BYTES];
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if answer != message {
            return Err(io::Error::other("the answer is not what was sent"));
        }
    }
    Ok(thread_time().as_secs_f64())
}

/// Returns what a client sends, until it ends the connection.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = [0; MESSAGE_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

fn plain_tokio(echoes: u32) -> io::Result<Measured> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let mut buffer = [0; MESSAGE_BYTES];
                loop {
                    let read = stream.read(&mut buffer).await?;
                    if read == 0 {
                        return io::Result::Ok(());
                    }
                    stream.write_all(&buffer[..read]).await?;
                }
            });
        }
    });
    let measured = call(address, echoes);
    runtime.shutdown_background();
    measured
}

fn plain_smol(echoes: u32) -> io::Result<Measured> {
    let executor: Arc<smol::Executor<'static>> = Arc::default();
    let (open, closed) = smol::channel::bounded::<()>(1);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (executor, closed) = (executor.clone(), closed.clone());
            // Nothing is ever sent: this returns when the channel is closed.
            thread::spawn(move || {
                let _ = smol::block_on(executor.run(closed.recv()));
            })
        })
        .collect();
    let listener = smol::block_on(smol::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let spawner = executor.clone();
    let accepting = executor.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if stream.set_nodelay(true).is_ok() {
                spawner.spawn(echo(stream)).detach();
            }
        }
    });
    let measured = call(address, echoes);
    smol::block_on(accepting.cancel());
    open.close();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread of the executor panicked"))?;
    }
    measured
}

fn on_tokio(echoes: u32) -> io::Result<Measured> {
    let runtime = TokioRuntime::start("echo", THREADS)?;
    let measured = through(&runtime, echoes);
    runtime.kill();
    measured
}

fn on_smol(echoes: u32) -> io::Result<Measured> {
    let runtime = SmolRuntime::start("echo", THREADS)?;
    let measured = through(&runtime, echoes);
    runtime.kill();
    measured
}

fn through<R: Runtime>(runtime: &R, echoes: u32) -> io::Result<Measured> {
    let listener = runtime.block_on(runtime.listen("127.0.0.1:0"))?;
    let address = runtime.local_address(&listener)?;
    let accepting = runtime.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = accepting.accept(&listener).await {
            accepting.spawn(async {
                // The client ends the connection.
                let _ = echo(stream).await;
            });
        }
    });
    call(address, echoes)
}

#[cfg(test)]
mod tests {
    use super::WAYS;

    #[test]
    fn each_way_echoes_what_every_client_sends() {
        for (name, pair) in WAYS {
            for way in pair {
                assert!(way(20).is_ok(), "{name}: {:?}", way(20).err());
            }
        }
    }
}
