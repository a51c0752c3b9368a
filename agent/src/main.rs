//! The command line program.
fn main() {
    let mut capture = syspan::kernel::capture::Capture::start(&syspan::kernel::capture::Settings { all: true, watch_exec: false, watch_listen: false, head_limit: 16384, sql_limit: 8192, ring_size: 1 << 23, address_key: 7 }).unwrap();
    eprintln!("ready");
    for _ in 0..30 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        while let Some(record) = capture.next() { println!("{record:?}"); }
    }
    println!("{:?}", capture.losses(0));
}
