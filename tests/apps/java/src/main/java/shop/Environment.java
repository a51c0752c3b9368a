package shop;

/** Settings come by environment variables. */
final class Environment {
    private Environment() {}

    static String text(String name, String otherwise) {
        var value = System.getenv(name);
        return value == null ? otherwise : value;
    }

    static int number(String name, int otherwise) {
        return Integer.parseInt(text(name, Integer.toString(otherwise)));
    }
}
