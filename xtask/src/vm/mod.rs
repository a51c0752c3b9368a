//! `cargo xtask vm`: the agent under other kernels, in virtual machines.

mod initramfs;
mod kernels;
mod machine;
mod report;

use anyhow::Result;

/// What `vm` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which kernel: 5.10, 6.1, 6.12, latest, or all
    #[arg(long, default_value = "all")]
    kernel: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let agent = std::path::PathBuf::from(std::env::var_os("SYSPAN_BIN").unwrap_or_default());
    let initramfs = initramfs::build(&agent, &crate::workspace::target().join("debug/guest"))?;
    for kernel in kernels::KERNELS.iter().filter(|kernel| options.kernel == "all" || options.kernel == kernel.name) {
        let image = kernel.image()?;
        let started = std::time::Instant::now();
        match machine::boot(kernel.name, &image, &initramfs) {
            Ok(report) => println!("{report:#?}"),
            Err(error) => println!("{error:#}"),
        }
        println!("{:?}", started.elapsed());
    }
    Ok(())
}
