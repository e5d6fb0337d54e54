//! What a process and those it started use, as the kernel accounts for it.

use std::{collections::BTreeMap, fs, process::Command, str::FromStr};

use anyhow::Context;

/// A process and its descendants.
#[derive(Clone, Copy)]
pub struct Tree(pub u32);

impl Tree {
    /// Time on a processor, in nanoseconds, of the threads that a name chooses. A thread's own account (`schedstat`) is
    /// exact; `utime` and `stime` count ticks of 10 ms.
    pub fn cpu(self, chosen: &dyn Fn(&str) -> bool) -> anyhow::Result<u64> {
        let mut sum = 0;
        for process in self.processes()? {
            for (thread, name) in threads(process)? {
                if chosen(&name) {
                    let path = format!("/proc/{process}/task/{thread}/schedstat");
                    // A thread that is gone since has done nothing for requests.
                    let text = fs::read_to_string(path).unwrap_or_default();
                    sum += number::<u64>(text.split(' ').next()).unwrap_or(0);
                }
            }
        }
        Ok(sum)
    }

    /// Resident bytes. Pages that forked processes share count once.
    pub fn memory(self) -> anyhow::Result<u64> {
        let processes = self.processes()?;
        let key = if processes.len() == 1 { "Rss:" } else { "Pss:" };
        let of = |process: &u32| -> anyhow::Result<u64> {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let kib: u64 = number(line.and_then(|line| line.split_whitespace().next())).context("no size")?;
            Ok(kib * 1024)
        };
        processes.iter().map(of).sum()
    }

    /// Puts all its threads under a scheduling policy of `chrt`; whether that is allowed here.
    pub fn schedule(self, policy: &str, priority: u32) -> bool {
        let set = |process: &u32| {
            let mut command = Command::new("chrt");
            command.args(["--all-tasks", policy, "--pid", &priority.to_string(), &process.to_string()]);
            command.output().is_ok_and(|output| output.status.success())
        };
        self.processes().is_ok_and(|processes| processes.iter().all(set))
    }

    /// Itself first.
    pub fn processes(self) -> anyhow::Result<Vec<u32>> {
        let mut parents = BTreeMap::new();
        for process in numbers("/proc")? {
            // The name stands in brackets and may hold anything; the parent is the second word after it.
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
            if let Some(parent) = number::<u32>(rest.and_then(|rest| rest.split(' ').nth(1))) {
                parents.insert(process, parent);
            }
        }
        let mut found = vec![self.0];
        loop {
            let child = |(process, parent): (&u32, &u32)| {
                (found.contains(parent) && !found.contains(process)).then_some(*process)
            };
            match parents.iter().find_map(child) {
                Some(child) => found.push(child),
                None => return Ok(found),
            }
        }
    }
}

/// A process's threads and their names.
pub fn threads(process: u32) -> anyhow::Result<Vec<(u32, String)>> {
    let folder = format!("/proc/{process}/task");
    let name = |thread: u32| fs::read_to_string(format!("{folder}/{thread}/comm")).unwrap_or_default();
    Ok(numbers(&folder)?.into_iter().map(|thread| (thread, name(thread).trim_end().to_owned())).collect())
}

/// The entries of a folder whose names are numbers.
fn numbers(folder: &str) -> anyhow::Result<Vec<u32>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {folder}"))?;
    Ok(entries.flatten().filter_map(|entry| number(entry.file_name().to_str())).collect())
}

fn number<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.trim().parse().ok()
}
