/// Pages about arguments of `-L` and `-F` (CV08xx).
extension Explanations {
  static let commandLinePages: [Explanation] = [
    Explanation(
      .badArgument, "an argument of `-L` or `-F` that cannot be read",
      [
        "An argument is `scheme://user:password@host:port/targets?key=value&key=value`. The scheme is one name or two, handler and listener for `-L`, connector and dialer for `-F`: `relay+tls`.",
        "What has a meaning of its own in an address has to be escaped where it is meant as a letter: `%2F` for `/` and `%3F` for `?` in a password, `%23` for `#` and `%25` for `%` everywhere, `%26` for `&` and `%2B` for `+` in a value. GOST reads on as if nothing were wrong, and what it leaves out is now and then the password.",
        "Wrong: `culvert -L 'relay+tls://user:a#b@:8443'`. Right: `culvert -L 'relay+tls://user:a%23b@:8443'`.",
      ])
  ]
}
