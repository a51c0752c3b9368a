#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use super::*;

fn facts(exe: &str, arguments: &[&str]) -> Facts {
    Facts {
        exe: Some(PathBuf::from(exe)),
        comm: "comm".to_owned(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        cwd: Some(PathBuf::from("/srv/shop")),
        host_name: "node-1".to_owned(),
        ..Facts::default()
    }
}

fn packages(folder: &Path) -> Option<String> {
    (folder == Path::new("/srv/checkout")).then(|| "@acme/checkout-api".to_owned())
}

/// The name that a command line gives, split at spaces.
fn of(exe: &str, line: &str) -> String {
    facts(exe, &line.split(' ').collect::<Vec<_>>()).name(packages).text
}

/// The name that a rewritten title gives.
fn titled(exe: &str, title: &str) -> String {
    facts(exe, &[title]).name(packages).text
}

#[test]
fn the_strongest_source_wins() {
    let mut facts = facts("/usr/bin/python3.11", &["python3", "orders.py"]);
    let mut step = |change: fn(&mut Facts)| {
        change(&mut facts);
        let name = facts.name(packages);
        (name.text, name.source)
    };
    assert_eq!(step(|_| {}), ("orders".to_owned(), NameSource::Program));
    assert_eq!(step(|facts| facts.cgroup.unit = Some("unit".to_owned())), ("unit".to_owned(), NameSource::Unit));
    let pod = |facts: &mut Facts| {
        facts.environment.push(("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()));
        facts.environment.push(("HOSTNAME".to_owned(), "cart-7d9c8b6f5-x2x9k".to_owned()));
    };
    assert_eq!(step(pod), ("cart".to_owned(), NameSource::Pod));
    let attribute = |facts: &mut Facts| facts.attributes.push(("service.name".to_owned(), "attribute".to_owned()));
    assert_eq!(step(attribute), ("attribute".to_owned(), NameSource::ResourceAttributes));
    let empty = |facts: &mut Facts| facts.environment.push(("OTEL_SERVICE_NAME".to_owned(), String::new()));
    assert_eq!(step(empty).1, NameSource::ResourceAttributes, "an empty variable is not set");
    let given = |facts: &mut Facts| facts.environment.last_mut().unwrap().1 = "given".to_owned();
    assert_eq!(step(given), ("given".to_owned(), NameSource::Environment));
}

#[test]
fn pods_are_named_after_their_workload() {
    for (pod, name) in [
        ("cart-7d9c8b6f5-x2x9k", "cart"),
        ("my-cart-7d9c8b6f5-x2x9k", "my-cart"),
        ("agent-x2x9k", "agent"),
        ("postgres-0", "postgres"),
        ("cart-service", "cart-service"),
        ("cart-orders", "cart-orders"),
        ("single", "single"),
    ] {
        assert_eq!(workload(pod), name);
    }
}

#[test]
fn a_host_name_is_no_pod_name() {
    let mut facts = facts("/usr/sbin/nginx", &["nginx"]);
    facts.environment.push(("HOSTNAME".to_owned(), "cart-0".to_owned()));
    assert_eq!(facts.name(packages).text, "nginx", "not in Kubernetes");
    facts.cgroup.pod_uid = Some("uid".to_owned());
    assert_eq!(facts.name(packages).text, "cart");
    facts.host_name = "cart-0".to_owned();
    assert_eq!(facts.name(packages).text, "nginx", "a pod on the host's network has the host's name");
}

#[test]
fn executables_name_themselves() {
    assert_eq!(of("/usr/sbin/nginx", "nginx:"), "nginx");
    assert_eq!(titled("/usr/lib/postgresql/16/bin/postgres", "postgres: shop db 10.0.0.1(5000) idle"), "postgres");
    assert_eq!(of("/opt/shop/orders-v2", "./orders-v2 --port 80"), "orders-v2");
    assert_eq!(of("/memfd:sealed-91173221a7ea", "x"), "unknown_service:comm");
}

#[test]
fn a_process_that_has_ended_is_called_like_its_executable_was() {
    let name = |command: &str| {
        let left = Facts { comm: command.to_owned(), ..Facts::default() };
        left.name(packages).text
    };
    assert_eq!(name("curl"), "curl");
    assert_eq!(name("python3.11"), "unknown_service:python3.11");
    assert_eq!(name("a-service-of-ou"), "unknown_service:a-service-of-ou");
    assert_eq!(name(""), "unknown_service");
}

#[test]
fn python_programs() {
    let python = |line: &str| of("/usr/bin/python3.11", line);
    for (line, name) in [
        ("python3 /srv/shop/orders.py --port 80", "orders"),
        ("python3 -u -W ignore -X dev orders.py", "orders"),
        ("python3 -m shop.orders --port 80", "shop.orders"),
        ("python3 -um shop", "shop"),
        ("python3 -mshop", "shop"),
        ("python3 -Wignore -m shop.__main__", "shop"),
        ("python3 manage.py runserver", "shop"),
        ("python3 /srv/cart/__main__.py", "cart"),
        ("python3 /usr/bin/gunicorn -w 4 -b 0.0.0.0:8000 shop.orders:app", "shop.orders"),
        (
            "python3 /usr/bin/gunicorn -b unix:/run/x.sock -k uvicorn.workers.UvicornWorker shop.wsgi:application",
            "shop",
        ),
        ("python3 /usr/bin/gunicorn --bind localhost:80 shop.wsgi", "shop"),
        ("python3 -m uvicorn shop.orders:create() --factory --port 80", "shop.orders"),
        ("python3 -m uvicorn main:app --host 0.0.0.0", "main"),
        ("python3 /usr/local/bin/celery -A shop.tasks worker -c 4", "shop.tasks"),
        ("python3 -m flask --app orders run", "orders"),
        ("python3 /usr/bin/gunicorn -c conf.py", "gunicorn"),
        ("python3 -c print(1)", "unknown_service:python3.11"),
        ("python3 /dev/fd/63", "unknown_service:python3.11"),
        ("python3 -", "unknown_service:python3.11"),
        ("python3", "unknown_service:python3.11"),
        ("python3 -W", "unknown_service:python3.11"),
    ] {
        assert_eq!(python(line), name, "{line}");
    }
    assert_eq!(titled("/usr/bin/python3", "gunicorn: worker [shop.orders:app]"), "shop.orders");
    assert_eq!(titled("/usr/bin/python3", "gunicorn: master []"), "gunicorn");
}

#[test]
fn node_programs() {
    let node = |line: &str| of("/usr/bin/node", line);
    for (line, name) in [
        ("node orders.js", "orders"),
        ("node --max-old-space-size=4096 -r dotenv/config /srv/shop/cart.mjs", "cart"),
        ("node server.js", "shop"),
        ("node /srv/checkout/dist/index.js", "checkout-api"),
        ("node /srv/checkout/./dist/../server.js", "checkout-api"),
        ("node .", "shop"),
        ("node /srv/payments/dist/main.js", "payments"),
        ("node /index.js", "index"),
        ("node -e setInterval(()=>{},1000)", "unknown_service:node"),
        ("node", "unknown_service:node"),
    ] {
        assert_eq!(node(line), name, "{line}");
    }
    assert_eq!(of("/usr/bin/bun", "bun run orders.ts"), "orders");
    let mut next = facts("/usr/bin/node", &["next-server (v14.1.0)"]);
    assert_eq!(next.name(packages).text, "unknown_service:node");
    next.cwd = Some(PathBuf::from("/srv/checkout"));
    assert_eq!(next.name(packages).text, "checkout-api");
}

#[test]
fn java_programs() {
    let java = |line: &str| of("/usr/lib/jvm/java-17/bin/java", line);
    for (line, name) in [
        ("java -Xmx1g -jar /opt/orders-1.2.3-SNAPSHOT.jar --port=80", "orders"),
        ("java -jar order-service-2.jar", "order-service"),
        ("java -jar plain.jar", "plain"),
        ("java -cp /opt/lib/*:x.jar -Dfoo=bar com.shop.OrdersApplication --port 80", "OrdersApplication"),
        ("java --module-path mods -m shop.orders/com.shop.Main", "Main"),
        ("java @args Orders", "Orders"),
        ("java Orders.java", "Orders"),
        ("java -version", "unknown_service:java"),
        ("java -jar", "unknown_service:java"),
    ] {
        assert_eq!(java(line), name, "{line}");
    }
}

#[test]
fn other_interpreters() {
    assert_eq!(of("/usr/bin/ruby3.1", "ruby -I lib orders.rb"), "orders");
    assert_eq!(of("/usr/bin/ruby", "ruby /usr/bin/puma -p 80"), "shop");
    assert_eq!(titled("/usr/bin/ruby", "puma 6.4.2 (tcp://0.0.0.0:3000) [cart]"), "cart");
    assert_eq!(titled("/usr/sbin/php-fpm8.2", "php-fpm: pool www"), "php-fpm");
    assert_eq!(titled("/usr/sbin/php-fpm8.2", "php-fpm: pool cart"), "cart");
    assert_eq!(of("/usr/bin/php8.2", "php -d a=b orders.php"), "orders");
    assert_eq!(of("/usr/bin/php8.2", "php artisan serve"), "shop");
    assert_eq!(of("/usr/bin/perl", "perl -w orders.pl"), "orders");
    assert_eq!(of("/usr/bin/dotnet", "dotnet /app/Shop.Orders.dll"), "Shop.Orders");
    assert_eq!(of("/bin/bash", "/bin/bash /opt/run-orders.sh"), "run-orders");
    assert_eq!(of("/bin/bash", "bash /proc/self/fd/3"), "unknown_service:bash");
    assert_eq!(of("/bin/bash", "-bash"), "unknown_service:bash");
    assert_eq!(of("/bin/bash", "bash -c sleep"), "unknown_service:bash");
}

proptest::proptest! {
    #[test]
    fn arguments_do_not_panic(exe in "(python3|node|java|ruby|php|php-fpm|perl|bash|dotnet|x)", arguments in proptest::collection::vec("[-a-z@:./ ]{0,6}|\\PC{0,8}", 0..6)) {
        let mut facts = facts(&format!("/bin/{exe}"), &[]);
        facts.arguments = arguments;
        let name = facts.name(packages).text;
        proptest::prop_assert!(!name.is_empty());
        proptest::prop_assert!(!["python3", "node", "java"].contains(&name.as_str()) || facts.arguments.iter().any(|a| a.contains(&name)));
    }
}
