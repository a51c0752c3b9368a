#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use super::*;
use crate::processes::fake::Fake;

const OWN: Pid = 999;

fn candidate(pid: Pid, parent: Pid, exe: &str, listens: &[u16]) -> Candidate {
    Candidate { pid, parent, exe: Some(PathBuf::from(exe)), kernel_thread: false, listens: listens.to_vec() }
}

/// 1 -> 10 (nginx) -> 11, 12; 1 -> 20 (shell) -> 21 (python) -> 22; 2: a kernel thread; 999: syspan, started by the shell.
fn host() -> Vec<Candidate> {
    vec![
        candidate(1, 0, "/usr/lib/systemd/systemd", &[]),
        Candidate { pid: 2, kernel_thread: true, ..Candidate::default() },
        candidate(10, 1, "/usr/sbin/nginx", &[80, 443]),
        candidate(11, 10, "/usr/sbin/nginx", &[80, 443]),
        candidate(12, 10, "/usr/sbin/nginx", &[80, 443]),
        candidate(20, 1, "/bin/bash", &[]),
        candidate(21, 20, "/usr/bin/python3.11", &[8080]),
        candidate(22, 21, "/usr/bin/python3.11", &[]),
        candidate(OWN, 20, "/usr/bin/syspan", &[]),
        candidate(1000, OWN, "/bin/child-of-syspan", &[]),
    ]
}

fn selected(selectors: &Selectors) -> Vec<(Pid, SelectedBy)> {
    selectors.select(&host(), OWN).unwrap()
}

fn pids(selectors: &Selectors) -> Vec<Pid> {
    selected(selectors).into_iter().map(|(pid, _)| pid).collect()
}

fn exe(pattern: &str) -> Selectors {
    Selectors { exes: vec![pattern.parse().unwrap()], ..Selectors::default() }
}

#[test]
fn without_selectors_everything_but_syspan_and_the_kernel() {
    assert_eq!(pids(&Selectors::default()), [1, 10, 11, 12, 20, 21, 22, 1000]);
    let all = Selectors { all: true, ports: vec![80], ..Selectors::default() };
    assert_eq!(pids(&all).len(), 8);
    assert!(selected(&all).contains(&(10, SelectedBy::Port(80))), "the better reason is told");
    assert!(selected(&all).contains(&(1, SelectedBy::All)));
}

#[test]
fn a_pid_comes_with_its_descendants_but_never_with_syspan() {
    let selectors = Selectors { pids: vec![20], ..Selectors::default() };
    assert_eq!(
        selected(&selectors),
        [(20, SelectedBy::Pid), (21, SelectedBy::Parent(20)), (22, SelectedBy::Parent(21))]
    );
}

#[test]
fn pids_that_cannot_be_observed_are_told() {
    let error =
        |pid| Selectors { pids: vec![pid], ..Selectors::default() }.select(&host(), OWN).unwrap_err().to_string();
    assert!(error(4242).starts_with("there is no process 4242: look its id up"));
    assert!(error(2).contains("thread of the kernel"));
    assert!(error(OWN).contains("syspan itself"));
}

#[test]
fn executables_match_by_name_or_path() {
    assert_eq!(pids(&exe("nginx")), [10, 11, 12]);
    assert_eq!(pids(&exe("python*")), [21, 22]);
    assert_eq!(pids(&exe("/usr/bin/*")), [21, 22]);
    assert_eq!(pids(&exe("/usr/**")), [1, 10, 11, 12, 21, 22]);
    assert_eq!(pids(&exe("/usr/*")), [] as [Pid; 0], "a star does not match a slash");
    assert_eq!(selected(&exe("python*"))[0].1, SelectedBy::Exe("python*".to_owned()));
    assert_eq!(selected(&exe("python*"))[0].1.to_string(), "--exe python*");
    assert_eq!(pids(&exe("bash")), [20], "without children");
    assert!("[".parse::<ExePattern>().is_err());
}

#[test]
fn ports_match_every_process_that_listens() {
    let selectors = Selectors { ports: vec![443, 8080], ..Selectors::default() };
    assert_eq!(pids(&selectors), [10, 11, 12, 21]);
}

#[test]
fn selectors_add_up() {
    let selectors = Selectors { pids: vec![21], ports: vec![80], exes: vec!["bash".parse().unwrap()], all: false };
    assert_eq!(pids(&selectors), [10, 11, 12, 20, 21, 22]);
}

#[test]
fn one_process_is_decided_as_it_appears() {
    let child = candidate(30, 21, "/bin/x", &[]);
    let selectors = Selectors { pids: vec![20], ..Selectors::default() };
    let decide = |parent: Option<SelectedBy>| selectors.decide(&child, parent.as_ref(), OWN);
    assert_eq!(decide(None), None);
    assert_eq!(decide(Some(SelectedBy::Pid)), Some(SelectedBy::Parent(21)));
    assert_eq!(decide(Some(SelectedBy::Parent(20))), Some(SelectedBy::Parent(21)));
    assert_eq!(decide(Some(SelectedBy::Port(80))), None, "only --pid takes the children in");
}

#[test]
fn circles_end() {
    let circle = [candidate(5, 6, "/x", &[]), candidate(6, 5, "/x", &[]), candidate(7, 1, "/x", &[])];
    let selectors = Selectors { pids: vec![7], ..Selectors::default() };
    assert_eq!(selectors.select(&circle, OWN).unwrap(), [(7, SelectedBy::Pid)]);
}

#[test]
fn listening_ports_are_read_in_each_network_namespace() {
    let fake = Fake::new();
    fake.process(10, "/bin/a", &["a"]);
    fake.process(11, "/bin/a", &["a"]);
    fake.process(12, "/bin/b", &["b"]);
    fake.listens(10, "net:[1]", 500, 80);
    fake.listens(11, "net:[1]", 500, 80);
    fake.listens(12, "net:[2]", 500, 81);
    fake.stat(2, 0, 0x20_0040, 0);
    let selectors = Selectors { ports: vec![80], ..Selectors::default() };
    let candidates = Survey::candidates(&fake.proc(), &selectors).unwrap();
    let found: Vec<_> = candidates.iter().map(|c| (c.pid, c.listens.clone(), c.kernel_thread)).collect();
    let expected = [(2, vec![], true), (10, vec![80], false), (11, vec![80], false), (12, vec![81], false)];
    assert_eq!(found, expected, "each by the table of its own namespace");
    let chosen: Vec<Pid> = selectors.select(&candidates, OWN).unwrap().into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(chosen, [10, 11]);
    assert_eq!(Survey::one(&fake.proc(), &selectors, 12).unwrap().listens, [81]);
    assert_eq!(Survey::one(&fake.proc(), &Selectors::default(), 12).unwrap().exe, None, "nobody asked for it");
}

#[test]
fn finds_the_port_of_this_very_process() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let selectors = Selectors { ports: vec![socket.local_addr().unwrap().port()], ..Selectors::default() };
    let candidates = Survey::candidates(&Proc::default(), &selectors).unwrap();
    let selected = selectors.select(&candidates, 0).unwrap();
    assert!(selected.iter().any(|(pid, by)| *pid == std::process::id() && matches!(by, SelectedBy::Port(_))));
}
