culvert check -L 'relay+tls+ws://127.0.0.1:8443'    # CV0801
