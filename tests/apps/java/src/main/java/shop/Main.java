package shop;

import jakarta.servlet.http.HttpServlet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.threads.VirtualThreadExecutor;

/** The web service: Tomcat, the paths, and the pool of workers to which some of them hand their steps. */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        var tomcat = new Tomcat();
        tomcat.setBaseDir(System.getProperty("java.io.tmpdir"));
        tomcat.setConnector(connector());
        var context = tomcat.addContext("", null);

        var steps = new Steps(new Database(), Downstream.chosen());
        var workers = Executors.newFixedThreadPool(Environment.number("WORKERS", 8));
        serve(context, "/hello", new Hello());
        serve(context, "/checkout", new Page(id -> steps.all("checkout", id)));
        // For another service that has this one downstream.
        serve(context, "/item", new Page(id -> steps.all("item", id)));
        serve(context, "/handed", new Page(id -> workers.submit(() -> steps.all("handed", id)).get()));
        serve(context, "/future", new Page(id -> chained(steps, id, workers)));
        serve(context, "/fanout", new Page(id -> atOnce(steps, id, workers)));

        tomcat.start();
        tomcat.getServer().await();
    }

    private static Connector connector() {
        var connector = new Connector("HTTP/1.1");
        connector.setProperty("address", Environment.text("HOST", "127.0.0.1"));
        connector.setPort(Environment.number("PORT", 8080));
        connector.setProperty("maxThreads", Environment.text("THREADS", "64"));
        connector.setProperty("maxKeepAliveRequests", "-1");
        if (Environment.text("VIRTUAL_THREADS", "").equals("1")) {
            connector.getProtocolHandler().setExecutor(new VirtualThreadExecutor("request-"));
        }
        return connector;
    }

    private static void serve(Context context, String path, HttpServlet servlet) {
        Tomcat.addServlet(context, path, servlet).addMapping(path);
    }

    /** One step after the other, each begun by whichever worker is free once the step before it is done. */
    private static String chained(Steps steps, String id, ExecutorService workers) {
        return CompletableFuture.supplyAsync(() -> steps.query("future", id, "a"), workers)
                .thenApplyAsync(text -> text + steps.item(id), workers)
                .thenApplyAsync(text -> text + steps.query("future", id, "b"), workers)
                .join();
    }

    private static String atOnce(Steps steps, String id, ExecutorService workers) {
        var first = CompletableFuture.supplyAsync(() -> steps.query("fanout", id, "a"), workers);
        var item = CompletableFuture.supplyAsync(() -> steps.item(id), workers);
        var second = CompletableFuture.supplyAsync(() -> steps.query("fanout", id, "b"), workers);
        CompletableFuture.allOf(first, item, second).join();
        return first.join() + item.join() + second.join();
    }
}
