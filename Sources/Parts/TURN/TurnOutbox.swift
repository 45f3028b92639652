import CLinux
import LinuxIO
import STUN
import Values

/// What a relay is about to send: datagrams that were read together and go on together.
///
/// A socket is read in rounds of many datagrams. Each is looked at, and noted here with where it goes; its bytes stay where
/// they were read. At the end those of one destination and one size leave with one call, however they were mixed with
/// others on the way in: the kernel gathers headers and data from their places (`UDP_SEGMENT`). The order of what goes to
/// one destination stays.
///
/// The end is that of the round if it brought many. A few are copied aside, and leave at the end of the loop's turn with
/// what other sockets brought in it: sending is what a relay does most, and each call may have to wake whoever receives,
/// which costs more than the packet, unless the call before has done so.
///
/// Safety: an entry's pointers are good until a socket is read again, and `keep` or `flush` is called before that.
final class TurnOutbox {
  /// Datagrams of one destination.
  private struct Run {
    let socket: UDPSocket
    let remote: Endpoint
    let local: IPAddress?
    let ecn: UInt8
    let lane: Int
    let segment: Int
    let hasHeader: Bool
    var bytes = 0
    var count = 0
    var first: Int32 = -1
    var last: Int32 = -1
    var isClosed = false
  }

  private struct Entry {
    let header: UnsafeRawPointer?
    let headerLength: Int
    var data: UnsafeRawPointer?
    let length: Int
    var next: Int32 = -1
  }

  private var runs: [Run] = []
  private var entries: [Entry] = []
  private var pieces = [culvert_piece](repeating: culvert_piece(), count: 128)
  /// The run that is open in each lane, and of which round it is.
  private var open: [(round: UInt32, run: Int32)] = []
  private var round: UInt32 = 1
  private let scratch: UnsafeMutableRawPointer
  private var used = 0
  /// Entries whose bytes are ours already, and the bytes of those that came since.
  private var kept = 0
  private var foreign = 0
  /// Datagrams that no socket took.
  private(set) var unsent: UInt64 = 0

  private static let scratchSize = 256 * 1024
  private static let alignment = 8
  private static let maximumRun = 64
  private static let maximumBytes = 65_000
  /// Of one round: what is copied rather than sent at once, bytes. A copy of so much takes less than one call.
  private static let cheapCopy = 12 * 1024
  /// Datagrams that wait for the end of a turn, at most.
  private static let patience = 96

  init() {
    scratch = .allocate(byteCount: Self.scratchSize, alignment: 16)
    runs.reserveCapacity(64)
    entries.reserveCapacity(1_024)
  }

  deinit { scratch.deallocate() }

  /// Where datagrams go, and in which order they stay: a lane is a small number, one for each destination's order.
  struct Destination {
    let socket: UDPSocket
    let remote: Endpoint
    let local: IPAddress?
    let ecn: UInt8
    let lane: Int
  }

  /// Room for a header, or a whole message, until the next flush; `nil` when what is noted has to leave first.
  func room(_ count: Int) -> UnsafeMutableRawPointer? {
    guard used + count <= Self.scratchSize else { return nil }
    defer { used += (count + Self.alignment - 1) & ~(Self.alignment - 1) }
    return scratch + used
  }

  /// Notes a datagram.
  func add(
    _ data: UnsafeRawBufferPointer, header: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    to destination: Destination
  ) {
    let length = header.count + data.count
    foreign += data.count
    let index = Int32(entries.count)
    entries.append(
      Entry(header: header.baseAddress, headerLength: header.count, data: data.baseAddress, length: data.count))
    if let run = openRun(destination.lane), accepts(run, destination, length, hasHeader: header.count > 0) {
      entries[Int(runs[run].last)].next = index
      runs[run].last = index
      runs[run].count += 1
      runs[run].bytes += length
      if length < runs[run].segment { runs[run].isClosed = true }
      return
    }
    let run = Run(
      socket: destination.socket, remote: destination.remote, local: destination.local, ecn: destination.ecn,
      lane: destination.lane, segment: length, hasHeader: header.count > 0, bytes: length, count: 1, first: index,
      last: index)
    setOpenRun(destination.lane, runs.count)
    runs.append(run)
  }

  private func accepts(_ index: Int, _ destination: Destination, _ length: Int, hasHeader: Bool) -> Bool {
    let run = runs[index]
    return !run.isClosed && run.count < Self.maximumRun && length <= run.segment && length > 0
      && run.bytes + length <= Self.maximumBytes && run.hasHeader == hasHeader && run.ecn == destination.ecn
      && run.remote == destination.remote && run.socket === destination.socket && run.local == destination.local
  }

  private func openRun(_ lane: Int) -> Int? {
    guard lane < open.count, open[lane].round == round else { return nil }
    return Int(open[lane].run)
  }

  private func setOpenRun(_ lane: Int, _ run: Int) {
    if lane >= open.count { open.append(contentsOf: repeatElement((round: 0, run: 0), count: lane + 16 - open.count)) }
    open[lane] = (round, Int32(run))
  }

  /// Before a socket is read again: copies what was noted since, or sends all; whether something is left to be flushed.
  func keep() -> Bool {
    let need = foreign + (entries.count - kept) * Self.alignment
    guard entries.count < Self.patience, foreign <= Self.cheapCopy, used + need <= Self.scratchSize else {
      flush()
      return false
    }
    for index in kept..<entries.count where !isOurs(entries[index].data) {
      guard let data = entries[index].data, let place = room(entries[index].length) else { continue }
      place.copyMemory(from: data, byteCount: entries[index].length)
      entries[index].data = UnsafeRawPointer(place)
    }
    kept = entries.count
    foreign = 0
    return kept > 0
  }

  private func isOurs(_ data: UnsafeRawPointer?) -> Bool {
    guard let data else { return true }
    return data >= UnsafeRawPointer(scratch) && data < UnsafeRawPointer(scratch) + Self.scratchSize
  }

  /// Sends all of it.
  func flush() {
    kept = 0
    foreign = 0
    guard !runs.isEmpty else {
      used = 0
      return
    }
    for run in runs { send(run) }
    runs.removeAll(keepingCapacity: true)
    entries.removeAll(keepingCapacity: true)
    used = 0
    round &+= 1
  }

  private func send(_ run: Run) {
    var filled = 0
    var entry = run.first
    while entry >= 0 {
      let one = entries[Int(entry)]
      if run.hasHeader {
        pieces[filled] = Self.piece(one.header, one.headerLength)
        filled += 1
      }
      pieces[filled] = Self.piece(one.data, one.length)
      filled += 1
      entry = one.next
    }
    let outcome = pieces.withUnsafeBufferPointer {
      run.socket.send(
        gathered: UnsafeBufferPointer(rebasing: $0[..<filled]), each: run.hasHeader ? 2 : 1, segment: run.segment,
        to: run.remote, from: run.local, ecn: run.ecn)
    }
    if case .sent = outcome { return }
    unsent &+= UInt64(run.count)
  }

  private static func piece(_ base: UnsafeRawPointer?, _ count: Int) -> culvert_piece {
    var piece = culvert_piece()
    piece.bytes = base?.assumingMemoryBound(to: UInt8.self)
    piece.length = count
    return piece
  }
}
