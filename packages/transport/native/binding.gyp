{
  "target_defaults": {
    "cflags_cc": ["-O2", "-Wall", "-Wextra", "-Werror=return-type", "-fvisibility=hidden"],
    # The signal handler of guard.cc must outlive the last thread that used the addon.
    "ldflags": ["-Wl,-z,nodelete"]
  },
  "targets": [
    {
      "target_name": "cluster_fs",
      "defines": ["NAPI_VERSION=8"],
      "sources": [
        "addon.cc",
        "mapping.cc",
        "array_buffer.cc",
        "file.cc",
        "descriptor.cc",
        "poll.cc",
        "spin.cc",
        "userfault.cc",
        "futex.cc",
        "copy.cc",
        "pages.cc",
        "guard.cc"
      ]
    },
    {
      "target_name": "v8_buffer",
      "cflags_cc": ["-Wno-unused-parameter", "-Wno-cast-function-type"],
      "sources": ["v8_buffer.cc"]
    }
  ]
}
