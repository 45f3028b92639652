import Values

/// Which peer is to be looked at when: a binary heap with one place for each peer, which the peer knows.
///
/// A peer's place is only ever moved forward. Who is woken too early finds nothing to do and is put back, so that timers
/// which are set later with every packet cost nothing here.
struct WakeQueue {
  private var heap: [(at: Instant, peer: Peer)] = []

  var count: Int { heap.count }

  var first: (at: Instant, peer: Peer)? { heap.first }

  /// Wakes a peer then, or earlier where it is to be woken earlier already.
  mutating func wake(_ peer: Peer, at instant: Instant) {
    if let place = peer.wakePlace {
      guard instant < heap[place].at else { return }
      heap[place].at = instant
      rise(place)
    } else {
      peer.wakePlace = heap.count
      heap.append((instant, peer))
      rise(heap.count - 1)
    }
  }

  mutating func popDue(at now: Instant) -> Peer? {
    guard let first = heap.first, first.at <= now else { return nil }
    remove(first.peer)
    return first.peer
  }

  mutating func remove(_ peer: Peer) {
    guard let place = peer.wakePlace else { return }
    peer.wakePlace = nil
    let last = heap.removeLast()
    guard place < heap.count else { return }
    heap[place] = last
    last.peer.wakePlace = place
    rise(place)
    sink(last.peer.wakePlace ?? place)
  }

  private mutating func rise(_ place: Int) {
    var child = place
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].at < heap[parent].at else { return }
      exchange(child, parent)
      child = parent
    }
  }

  private mutating func sink(_ place: Int) {
    var parent = place
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].at < heap[least].at {
        least = child
      }
      guard least != parent else { return }
      exchange(parent, least)
      parent = least
    }
  }

  private mutating func exchange(_ one: Int, _ other: Int) {
    heap.swapAt(one, other)
    heap[one].peer.wakePlace = one
    heap[other].peer.wakePlace = other
  }
}
