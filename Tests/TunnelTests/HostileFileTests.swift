/// Files that were made to use up memory or time. The bounds are those of the whole program, as a user's machine sees
/// them: its peak of resident memory, and seconds.
import Glibc
import Testing

extension Tunnels {
  @Suite("Hostile files")
  struct HostileFileTests {
    @Test("No file makes the check crash, hang, or use more than 64 MiB")
    func bounds() throws {
      let directory = "/tmp/culvert-test-files-\(getpid())"
      let tool = "python3 \(Machine.tools)/hostile_files.py \(Machine.culvert) \(directory)"
      let outcome = try shell("mkdir \(directory) && \(tool); rm -rf \(directory)", within: 240)
      let rows = outcome.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
      #expect(rows.count > 15, "\(outcome.output)")
      for row in rows {
        guard row.count == 4, let code = Int(row[1]), let seconds = Double(row[2]), let peak = Int(row[3]) else {
          Issue.record("\(row)")
          continue
        }
        #expect((0...3).contains(code), "\(row)")
        #expect(seconds < 10, "\(row)")
        #expect(peak < 64, "\(row)")
      }
    }
  }
}
