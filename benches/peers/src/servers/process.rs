//! A server as a process of its own: pinned, watched by its CPU clock, ended with its handle.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Load;

/// For the whole of a start; a test machine may be busy.
const START: Duration = Duration::from_secs(10);

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those is in the way.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The CPU for the servers and the CPU for the load; `None` where there is only one.
pub struct Cpus {
    server: Option<usize>,
}

impl Cpus {
    /// Pins this process to its CPU.
    pub fn pick(wanted: Option<(usize, usize)>) -> Result<Self, String> {
        // SAFETY: a `cpu_set_t` is an array of integers, for which zeroes are fine.
        let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `allowed` is valid and its size is right.
        let status = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed) };
        checked(status).map_err(|error| format!("the allowed CPUs: {error}"))?;
        // SAFETY: each number is within the set.
        let mut allowed = (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) });
        let (server, load) = match wanted {
            Some(pair) => pair,
            None => match (allowed.next(), allowed.next()) {
                (Some(server), Some(load)) => (server, load),
                _ => {
                    eprintln!("there is only one CPU: nothing is pinned, and the figures mean little");
                    return Ok(Cpus { server: None });
                }
            },
        };
        pin(load).map_err(|error| format!("CPU {load}: {error}"))?;
        Ok(Cpus { server: Some(server) })
    }
}

pub struct Server {
    child: Child,
    clock: libc::clockid_t,
    pub port: u16,
}

impl Server {
    /// Returns when it accepts connections.
    pub fn start(mut command: Command, cpus: &Cpus) -> Result<Self, String> {
        let port = free_port()?;
        command.arg("--port").arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let cpu = cpus.server;
        // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
        unsafe {
            command.pre_exec(move || {
                // It must not outlive the load, however that ends.
                checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                cpu.map_or(Ok(()), pin)
            })
        };
        let child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut clock = 0;
        // SAFETY: `clock` is valid to write to.
        let status = unsafe { libc::clock_getcpuclockid(child.id() as libc::pid_t, &mut clock) };
        let mut server = Server { child, clock, port };
        if status != 0 {
            return Err(format!("its CPU clock: {}", io::Error::from_raw_os_error(status)));
        }
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("it ended at once: {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it does not listen on port {port}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What `load` cost the server; it returns the number of operations. There were `unmeasured` ones before.
    pub fn measure(&self, unmeasured: u64, load: impl FnOnce() -> Result<u64, String>) -> Result<Load, String> {
        let sleeps = self.sleeps();
        let before = self.cpu_ns()?;
        let operations = load()?;
        let (cpu_ns, sleeps) = (self.cpu_ns()? - before, self.sleeps() - sleeps);
        Ok(Load { operations, cpu_ns, sleeps, unmeasured, replied: 0 })
    }

    /// Its resident memory now, in bytes.
    pub fn memory(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path} has no VmRSS"))
    }

    /// User and system time of all its threads so far.
    fn cpu_ns(&self) -> Result<u64, String> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid to write to.
        let status = unsafe { libc::clock_gettime(self.clock, &mut time) };
        checked(status).map_err(|error| format!("its CPU clock: {error}"))?;
        Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Voluntary context switches of all its threads so far.
    fn sleeps(&self) -> u64 {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.id())) else { return 0 };
        let sleeps = |thread: io::Result<fs::DirEntry>| -> Option<u64> {
            let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse().ok()
        };
        threads.filter_map(sleeps).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// 10,000 connections need more than the usual soft limit. Servers inherit it.
pub fn raise_file_limit() -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }).map_err(|error| error.to_string())?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map_err(|error| error.to_string())?;
    Ok(())
}

fn free_port() -> Result<u16, String> {
    // Another run at the same time begins elsewhere.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let first = (std::process::id().wrapping_mul(37) % u32::from(count)) as u16;
    for _ in 0..count {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + ((u32::from(first) + u32::from(turn)) % u32::from(count)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".to_owned())
}

fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a `cpu_set_t` is an array of integers, for which zeroes are fine.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is within the set, and the set is valid.
    let status = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    checked(status)
}

fn checked(status: libc::c_int) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
