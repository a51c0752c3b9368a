//! What is told of a process, and where its runtime keeps what is read of it.

/// Value of the process table.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// A [`selection`] constant.
    pub selection: u32,
    /// [`watch`] flags.
    pub watch: u32,
    /// Where it has its goroutines.
    pub go: GoLayout,
}

/// [`Observed::watch`]: what else is told of the process.
pub mod watch {
    /// Which of its threads wakes or starts which.
    pub const WAKES: u32 = 1;
    /// Which of its goroutines hands which one a request to write.
    pub const HANDOVERS: u32 = 2;
    /// In which of Python's contexts its threads are ([`PythonLayout`](super::PythonLayout)).
    pub const CONTEXTS: u32 = 4;
    /// Which Tokio task its threads poll: the task's id is at [`GoLayout::g`](super::GoLayout::g) from the thread pointer.
    pub const TASKS: u32 = 8;
    /// Which of Java's virtual threads its threads carry ([`JavaLayout`](super::JavaLayout)).
    pub const VIRTUAL_THREADS: u32 = 16;
    /// Any of those that tell which coroutine its threads run.
    pub const COROUTINES: u32 = CONTEXTS | TASKS | VIRTUAL_THREADS;
    /// Which of Python's contexts are made as copies of which.
    pub const COPIES: u32 = 32;
}

/// Where a process that runs CPython keeps what is read of a thread's context: its threads' states are a list.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PythonLayout {
    /// Address of the pointer to the main interpreter's state.
    pub interpreter: u64,
    /// In an interpreter's state: the pointer to the first thread's.
    pub threads: u32,
    /// In a thread's state: the pointer to the next one's.
    pub next: u32,
    /// The thread's `pthread_t`, which with the C libraries of x86-64 is its thread pointer.
    pub thread_id: u32,
    /// The pointer to its context.
    pub context: u32,
    /// In the registers of a thread that has just made a copy of its context, where the program is put: that with the copy's address.
    pub copy: u32,
    /// Zero.
    pub reserved: u32,
}

/// Processes whose Python contexts are told at a time.
pub const MAX_PYTHONS: u32 = 4096;

/// Where a Java process (HotSpot) keeps what is read of the virtual thread that a thread carries. Its threads are a list; the one that calls is found
/// by the id that the system gives it. Offsets are in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JavaLayout {
    /// Address of the pointer to the list of threads.
    pub threads: u64,
    /// Address of the byte that is not 0 while a collection of garbage moves objects and all threads that run Java wait for it.
    pub collecting: u64,
    /// In the list: how many threads there are.
    pub length: u32,
    /// In the list: the pointer to the array of pointers to them.
    pub array: u32,
    /// In a thread: the pointer to what the system knows of it.
    pub system: u32,
    /// There: its id in its own pid namespace.
    pub system_id: u32,
    /// In a thread: the word that is not 0 while it carries a virtual thread; with `id`, the pointer to the one to its own object.
    pub carries: u32,
    /// In a thread: the id of the thread that it runs, a virtual one or itself; with `id`, the pointer to the one to that thread's object.
    pub current: u32,
    /// In an object of `java.lang.Thread`: its id. 0: the object is not asked.
    pub id: u32,
    /// Zero.
    pub reserved: u32,
}

/// Processes whose virtual threads are told at a time.
pub const MAX_JAVAS: u32 = 4096;

/// Where a Go program keeps what is read of the goroutine that a thread is running.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GoLayout {
    /// From the thread pointer to the address of the goroutine's `runtime.g` (where a register does not have it).
    pub g: i32,
    /// Of its `goid`; 0: the program is not Go.
    pub id: u16,
    /// Of its `parentGoid`; 0: it has none.
    pub parent: u16,
}

/// [`Observed::selection`].
pub mod selection {
    /// Observed, and its children with it.
    pub const SELECTED: u32 = 1;
    /// Never observed, even with `all` (the agent itself).
    pub const EXCLUDED: u32 = 2;
    /// Never observed, but its children are (`syspan exec`).
    pub const PARENT: u32 = 3;
}

const _: () = assert!(size_of::<Observed>() == 4 + 4 + 8);
const _: () = assert!(size_of::<PythonLayout>() == 8 + 6 * 4);
const _: () = assert!(size_of::<JavaLayout>() == 8 + 8 + 8 * 4);

// SAFETY: repr(C), Copy, plain integers only, and no padding by the size asserted above.
#[cfg(feature = "std")]
unsafe impl aya::Pod for Observed {}
// SAFETY: repr(C), Copy, plain integers only, and no padding by the size asserted above.
#[cfg(feature = "std")]
unsafe impl aya::Pod for PythonLayout {}
// SAFETY: repr(C), Copy, plain integers only, and no padding by the size asserted above.
#[cfg(feature = "std")]
unsafe impl aya::Pod for JavaLayout {}
