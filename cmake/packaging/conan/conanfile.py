"""Conan 2 recipe, which takes the tree that it lies in: conan create NIBBLE/cmake/packaging/conan"""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load

required_conan_version = ">=2.0"


class NibbleConan(ConanFile):
    name = "nibble"
    description = "Quantized tensor containers for host inference engines"
    license = "MIT"
    topics = ("quantization", "gguf", "safetensors", "inference", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    @property
    def _top(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._top, "include", "nibble", "version.hpp"))
        parts = re.findall(r"#define NIBBLE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
        self.version = ".".join(parts)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            copy(self, pattern, src=self._top, dst=self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        for requirement in ("fmt/[>=9.1]", "nlohmann_json/[>=3.11]", "xsimd/[>=8.1]", "zlib/[>=1.2.11 <2]"):
            self.requires(requirement, transitive_headers=True, transitive_libs=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.clear()

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["NIBBLE_BUILD_TESTS"] = False
        toolchain.cache_variables["NIBBLE_BUILD_EXAMPLES"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        CMake(self).install()

    def package_info(self):
        # nibble's own package files serve, which bring nibble_add_dispatch and nibble_add_kernels.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.set_property("pkg_config_name", "nibble")
        self.cpp_info.builddirs = [os.path.join("share", "cmake", "nibble")]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
