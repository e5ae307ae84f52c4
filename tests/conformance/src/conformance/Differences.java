package conformance;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/** The accepted differences: case pattern, difference pattern and reason, tab-separated; `*` matches anything. */
final class Differences {
    private static final class Row {
        final String text;
        final Pattern name, finding;
        boolean used;

        Row(String line) {
            String[] cells = line.split("\t");
            if (cells.length != 3 || cells[2].isBlank()) throw new IllegalArgumentException("differences need a case, a finding and a reason: " + line);
            text = line;
            name = glob(cells[0]);
            finding = glob(cells[1]);
        }
    }

    private final List<Row> rows = new ArrayList<>();

    Differences(Path file) throws IOException {
        for (String line : Files.readAllLines(file))
            if (!line.isBlank() && !line.startsWith("#")) rows.add(new Row(line));
    }

    private static Pattern glob(String text) {
        StringBuilder regex = new StringBuilder();
        for (String part : text.split("(?<=\\*)|(?=\\*)")) regex.append(part.equals("*") ? ".*" : Pattern.quote(part));
        return Pattern.compile(regex.toString(), Pattern.DOTALL);
    }

    /** Whether this finding of this case is accepted. */
    synchronized boolean accepts(String name, String finding) {
        boolean found = false;
        for (Row row : rows)
            if (row.name.matcher(name).matches() && row.finding.matcher(finding).matches()) {
                row.used = true;
                found = true;
            }
        return found;
    }

    List<String> unused() {
        return rows.stream().filter(r -> !r.used).map(r -> r.text).toList();
    }
}
