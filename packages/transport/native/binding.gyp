{
  "target_defaults": {
    "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror=return-type", "-fvisibility=hidden"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"]
  },
  "targets": [
    {
      "target_name": "cluster_fs",
      "defines": ["NAPI_VERSION=8"],
      "sources": [
        "addon.cc",
        "mapping.cc",
        "file.cc",
        "descriptor.cc",
        "poll.cc",
        "userfault.cc",
        "futex.cc",
        "copy.cc",
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
