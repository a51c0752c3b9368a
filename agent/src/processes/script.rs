//! What an interpreter runs: the script, module, archive or class that a service is called after, never `python3`.

use std::path::Path;

use super::name::Facts;

/// A program that runs other programs, which give the service its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpreter {
    /// CPython, PyPy.
    Python,
    /// Node.js, Bun, Deno.
    Node,
    /// A Java virtual machine.
    Java,
    /// Ruby.
    Ruby,
    /// PHP on the command line.
    Php,
    /// PHP's FastCGI process manager.
    PhpFpm,
    /// `dotnet`.
    Dotnet,
    /// Perl.
    Perl,
    /// A shell.
    Shell,
}

/// Python programs whose argument is the application: `gunicorn shop.orders:app`, `celery -A shop worker`.
const PYTHON_RUNNERS: [&str; 9] =
    ["celery", "daphne", "flask", "granian", "gunicorn", "hypercorn", "uvicorn", "uwsgi", "waitress-serve"];
/// Ruby programs that serve the application in the working folder.
const RUBY_RUNNERS: [&str; 8] = ["bundle", "puma", "rackup", "rails", "sidekiq", "thin", "unicorn", "config"];
/// Names of scripts that say nothing: every other project has one.
const GENERIC_SCRIPTS: [&str; 8] = ["__main__", "app", "artisan", "index", "main", "manage", "server", "start"];
/// Names of folders that say nothing.
const GENERIC_FOLDERS: [&str; 12] =
    ["app", "bin", "build", "cmd", "current", "dist", "lib", "out", "public", "releases", "server", "src"];
/// How far above a script its package.json is looked for.
const MAX_PARENTS: usize = 4;

/// An interpreter's options that take the next argument as their value.
const NODE_VALUES: [&str; 15] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--title",
    "--inspect-port",
    "--max-http-header-size",
    "--icu-data-dir",
    "--openssl-config",
    "--redirect-warnings",
    "--stack-trace-limit",
];
const JAVA_VALUES: [&str; 12] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--patch-module",
    "--source",
];
const RUBY_VALUES: [&str; 4] = ["-r", "-I", "-C", "-E"];
const PHP_VALUES: [&str; 4] = ["-c", "-d", "-z", "-t"];
const PERL_VALUES: [&str; 1] = ["-I"];
const SHELL_VALUES: [&str; 4] = ["-o", "+o", "-O", "--rcfile"];

impl Interpreter {
    /// The interpreter an executable of this name is, whatever its version.
    #[must_use]
    pub fn of(exe: &str) -> Option<Self> {
        let plain = exe.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
        Some(match plain {
            "python" | "pypy" => Self::Python,
            "node" | "nodejs" | "bun" | "deno" => Self::Node,
            "java" => Self::Java,
            "ruby" => Self::Ruby,
            "php" | "php-cgi" => Self::Php,
            "php-fpm" => Self::PhpFpm,
            "dotnet" => Self::Dotnet,
            "perl" => Self::Perl,
            "sh" | "bash" | "dash" | "zsh" | "ksh" | "fish" | "busybox" => Self::Shell,
            _ => return None,
        })
    }

    /// `telemetry.sdk.language`, where the specification has a value for it.
    #[must_use]
    pub fn language(self) -> Option<&'static str> {
        match self {
            Self::Python => Some("python"),
            Self::Node => Some("nodejs"),
            Self::Java => Some("java"),
            Self::Ruby => Some("ruby"),
            Self::Php | Self::PhpFpm => Some("php"),
            Self::Dotnet => Some("dotnet"),
            Self::Perl | Self::Shell => None,
        }
    }

    /// The name of what it runs; `None` where the arguments do not say (a command in a string, an interactive session).
    pub(super) fn program(self, facts: &Facts, package_name: impl Fn(&Path) -> Option<String>) -> Option<String> {
        let arguments = facts.arguments.get(1..).unwrap_or_default();
        match self {
            Self::Python => python(facts, arguments),
            Self::Node => node(facts, arguments, package_name),
            Self::Java => java(arguments),
            Self::Ruby => ruby(facts, arguments),
            Self::Php => {
                script(arguments, &PHP_VALUES, &["-r", "-a", "-S"]).map(|path| telling(facts, path, &GENERIC_SCRIPTS))
            }
            Self::PhpFpm => Some(php_fpm(facts)),
            Self::Dotnet => {
                arguments.iter().find(|argument| argument.ends_with(".dll")).map(|path| stem(path).to_owned())
            }
            Self::Perl => script(arguments, &PERL_VALUES, &["-e", "-E"]).map(|path| stem(path).to_owned()),
            Self::Shell => script(arguments, &SHELL_VALUES, &["-c"]).map(|path| stem(path).to_owned()),
        }
    }
}

/// The first argument that is neither an option nor an option's value; none behind an option that brings the program.
fn script<'a>(arguments: &'a [String], with_value: &[&str], inline: &[&str]) -> Option<&'a str> {
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        if inline.contains(&argument) {
            return None;
        } else if argument == "--" {
            return arguments.next();
        } else if with_value.contains(&argument) {
            arguments.next();
        } else if !argument.is_empty() && !argument.starts_with(['-', '+', '@']) {
            return Some(argument).filter(|path| !is_descriptor(path));
        }
    }
    None
}

/// A script that is handed over as an open descriptor has no name but a number.
fn is_descriptor(path: &str) -> bool {
    path.starts_with("/dev/fd/") || path.starts_with("/proc/")
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The file's name without its extension.
fn stem(path: &str) -> &str {
    let name = file_name(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem })
}

/// The nearest folder above a path, the path itself included, whose name says something.
fn telling_folder(path: &Path) -> Option<String> {
    let mut names = path.ancestors().filter_map(|folder| folder.file_name()?.to_str());
    names.find(|name| !GENERIC_FOLDERS.contains(name)).map(str::to_owned)
}

/// The script's name, or that of its folder where the script's says nothing.
fn telling(facts: &Facts, path: &str, generic: &[&str]) -> String {
    let name = stem(path);
    let folder = || facts.absolute(path).parent().and_then(telling_folder);
    if generic.contains(&name) { folder().unwrap_or_else(|| name.to_owned()) } else { name.to_owned() }
}

fn python(facts: &Facts, arguments: &[String]) -> Option<String> {
    let mut rest = arguments;
    while let Some((argument, tail)) = rest.split_first() {
        let Some(flags) = argument.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            // "-" is standard input.
            return if argument == "-" || argument.is_empty() { None } else { python_script(facts, argument, tail) };
        };
        rest = tail;
        if flags == "-check-hash-based-pycs" {
            rest = tail.get(1..)?;
        }
        if flags.starts_with('-') {
            continue;
        }
        // Short options can be joined, `-um shop`, and the last one's value can be, `-mshop`.
        for (at, flag) in flags.char_indices() {
            let joined = flags.get(at + 1..).filter(|value| !value.is_empty());
            match flag {
                'c' => return None,
                'm' => {
                    return match joined {
                        Some(module) => python_module(facts, module, tail),
                        None => python_module(facts, tail.first()?, tail.get(1..)?),
                    };
                }
                'W' | 'X' => {
                    if joined.is_none() {
                        rest = tail.get(1..)?;
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    // `setproctitle`: "gunicorn: worker [shop.orders:app]".
    let title = facts.arguments.first().filter(|title| title.contains(' '))?;
    let (runner, rest) = title.split_once(':')?;
    let target = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(target, _)| target);
    PYTHON_RUNNERS.contains(&runner).then(|| if target.is_empty() { runner.to_owned() } else { application(target) })
}

fn python_script(facts: &Facts, path: &str, rest: &[String]) -> Option<String> {
    if is_descriptor(path) {
        return None;
    }
    let name = stem(path);
    if PYTHON_RUNNERS.contains(&name) && !path.ends_with(".py") {
        return Some(python_runner(name, rest));
    }
    Some(telling(facts, path, &["__main__", "manage"]))
}

fn python_module(facts: &Facts, module: &str, rest: &[String]) -> Option<String> {
    let first = module.split('.').next().unwrap_or(module);
    if PYTHON_RUNNERS.contains(&first) {
        return Some(python_runner(first, rest));
    }
    let module = module.strip_suffix(".__main__").unwrap_or(module);
    // What Python itself ships, such as `-m http.server` or `-m venv`, is still the best there is.
    (!module.is_empty()).then(|| if module == "__main__" { telling(facts, ".", &["."]) } else { module.to_owned() })
}

/// The application among the arguments of a program that serves it.
fn python_runner(runner: &str, arguments: &[String]) -> String {
    let is_identifier = |text: &str| {
        text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_alphanumeric() || "_.()".contains(c))
    };
    let mut options = arguments.iter();
    while let Some(option) = options.next() {
        if matches!(option.as_str(), "-A" | "--app") {
            return options.next().map_or_else(|| runner.to_owned(), |target| application(target));
        }
        if let Some(target) = option.strip_prefix("--app=") {
            return application(target);
        }
    }
    // An address has digits behind its colon, a socket's path has slashes: `shop.orders:app` has a name on both sides.
    let is_target = |argument: &&String| {
        argument.split_once(':').is_some_and(|(module, app)| is_identifier(module) && is_identifier(app))
    };
    let target = arguments.iter().find(is_target);
    // Without a name: `gunicorn shop.wsgi`. It stands last, behind the options and their values.
    let module = || arguments.last().filter(|last| last.contains('.') && !last.ends_with(".py") && is_identifier(last));
    target.or_else(module).map_or_else(|| runner.to_owned(), |target| application(target))
}

/// `shop.orders:app` is `shop.orders`; what only says how it is served is left out: `shop.wsgi:application` is `shop`.
fn application(target: &str) -> String {
    let module = target.split(':').next().unwrap_or(target);
    let module = file_name(module).trim_end_matches(".py");
    let short = [".wsgi", ".asgi", ".celery"].iter().find_map(|suffix| module.strip_suffix(suffix)).unwrap_or(module);
    if short.is_empty() { target.to_owned() } else { short.to_owned() }
}

fn node(facts: &Facts, arguments: &[String], package_name: impl Fn(&Path) -> Option<String>) -> Option<String> {
    let unscoped = |name: String| name.rsplit('/').next().map(str::to_owned).filter(|name| !name.is_empty());
    let package = |folder: &Path| folder.ancestors().take(MAX_PARENTS).find_map(&package_name).and_then(unscoped);
    // Deno and Bun: `deno run app.ts`.
    let arguments = match arguments.split_first() {
        Some((command, rest)) if command == "run" => rest,
        _ => arguments,
    };
    let inline = ["-e", "--eval", "-p", "--print", "-pe", "-i"];
    let Some(path) = script(arguments, &NODE_VALUES, &inline) else {
        // A program that names its process ("next-server (v14)"), or code in a string: the package around it, or nothing.
        let is_title = facts.arguments.len() == 1 && facts.arguments.first().is_some_and(|title| title.contains(' '));
        return if is_title { package(facts.cwd.as_deref()?) } else { None };
    };
    let name = stem(path);
    if !GENERIC_SCRIPTS.contains(&name) && name != "." {
        return Some(name.to_owned());
    }
    let absolute = facts.absolute(path);
    let folder = if name == "." { Some(absolute.as_path()) } else { absolute.parent() };
    folder.and_then(package).or_else(|| telling_folder(folder?)).or_else(|| Some(name.to_owned()))
}

fn java(arguments: &[String]) -> Option<String> {
    let mut options = arguments.iter().map(String::as_str);
    while let Some(option) = options.next() {
        match option {
            "-jar" => return options.next().map(|jar| without_version(stem(jar)).to_owned()),
            // `-m module/package.Main`
            "-m" | "--module" => return options.next().map(|module| simple_name(file_name(module)).to_owned()),
            value if JAVA_VALUES.contains(&value) => drop(options.next()),
            option if option.starts_with(['-', '@']) || option.is_empty() => {}
            class => return Some(simple_name(class).to_owned()),
        }
    }
    None
}

fn simple_name(class: &str) -> &str {
    class.strip_suffix(".java").unwrap_or(class).rsplit(['.', '/']).next().unwrap_or(class)
}

/// `orders-1.2.3-SNAPSHOT` is `orders`: a version begins with a digit behind a dash.
fn without_version(name: &str) -> &str {
    name.match_indices('-')
        .find(|(at, _)| {
            *at > 0 && name.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .and_then(|(at, _)| name.get(..at))
        .unwrap_or(name)
}

fn ruby(facts: &Facts, arguments: &[String]) -> Option<String> {
    // "puma 6.4.2 (tcp://0.0.0.0:3000) [shop]": the application's folder is in the title.
    let title = facts.arguments.first().filter(|title| title.contains(' '));
    if let Some((_, tag)) = title.and_then(|title| title.strip_suffix(']')?.rsplit_once('[')) {
        return Some(tag.to_owned());
    }
    let path = script(arguments, &RUBY_VALUES, &["-e"])?;
    let name = stem(path);
    let folder = facts.cwd.as_deref().and_then(telling_folder).filter(|_| RUBY_RUNNERS.contains(&name));
    folder.or_else(|| Some(telling(facts, path, &GENERIC_SCRIPTS)))
}

/// Workers are called "php-fpm: pool shop"; the pool every installation has is called `www`.
fn php_fpm(facts: &Facts) -> String {
    let pool = facts.arguments.first().and_then(|title| title.split_once(": pool "));
    pool.map(|(_, pool)| pool.trim()).filter(|pool| !pool.is_empty() && *pool != "www").unwrap_or("php-fpm").to_owned()
}
