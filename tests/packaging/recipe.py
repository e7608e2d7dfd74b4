"""Runs the Conan recipe with modules that stand for Conan's.

python3 recipe.py SOURCE VERSION FOLDER CMAKE GENERATOR COMPILER: what the recipe exports is enough to
configure and install from; and the recipes, this one and test_package's, are Python that loads.
"""

import fnmatch
import importlib.util
import os
import shutil
import subprocess
import sys
import types

source, version, folder, cmake, generator, compiler = sys.argv[1:]


class Info:
    def __init__(self):
        self.properties = {}
        self.builddirs = []

    def set_property(self, name, value):
        self.properties[name] = value

    def clear(self):
        self.is_clear = True


class ConanFile:
    def __init__(self, recipe_folder):
        self.recipe_folder = recipe_folder
        self.source_folder = self.export_sources_folder = os.path.join(folder, "exported")
        self.build_folder = os.path.join(folder, "build")
        self.package_folder = os.path.join(folder, "package")
        self.required = []
        self.cpp_info, self.info = Info(), Info()

    def requires(self, reference, **traits):
        self.required.append(reference)


class CMakeToolchain:
    variables = {}

    def __init__(self, recipe):
        self.cache_variables = CMakeToolchain.variables

    def generate(self):
        pass


class CMakeDeps(CMakeToolchain):
    pass


class CMake:
    def __init__(self, recipe):
        self.recipe = recipe

    def configure(self):
        options = [f"-D{name}={value}" for name, value in CMakeToolchain.variables.items()]
        subprocess.run([cmake, "-S", self.recipe.source_folder, "-B", self.recipe.build_folder, "-G", generator,
                        f"-DCMAKE_CXX_COMPILER={compiler}", *options], check=True, stdout=subprocess.DEVNULL)

    def install(self):
        subprocess.run([cmake, "--install", self.recipe.build_folder, "--prefix", self.recipe.package_folder],
                       check=True, stdout=subprocess.DEVNULL)


def copy(recipe, pattern, src, dst):
    for parent, _, names in os.walk(src):
        for name in names:
            path = os.path.relpath(os.path.join(parent, name), src)
            if fnmatch.fnmatch(path, pattern):
                os.makedirs(os.path.dirname(os.path.join(dst, path)), exist_ok=True)
                shutil.copy(os.path.join(src, path), os.path.join(dst, path))


def load(recipe, path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def module(name, **members):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)


module("conan", ConanFile=ConanFile)
module("conan.tools")
module("conan.tools.build", check_min_cppstd=None, can_run=None)
module("conan.tools.cmake", CMake=CMake, CMakeDeps=CMakeDeps, CMakeToolchain=CMakeToolchain, cmake_layout=None)
module("conan.tools.files", copy=copy, load=load)


def recipe_of(path):
    spec = importlib.util.spec_from_file_location("recipe", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return next(value for name, value in vars(loaded).items() if name.startswith("Nibble"))


sys.dont_write_bytecode = True
shutil.rmtree(folder, ignore_errors=True)
recipe_folder = os.path.join(source, "cmake", "packaging", "conan")
recipe = recipe_of(os.path.join(recipe_folder, "conanfile.py"))(recipe_folder)
recipe.set_version()
assert recipe.version == version, f"the recipe is of {recipe.version} instead of {version}"
recipe.export_sources()
recipe.requirements()
assert [name.split("/")[0] for name in recipe.required] == ["fmt", "nlohmann_json", "xsimd", "zlib"]
recipe.generate()
recipe.build()
recipe.package()
recipe.package_id()
recipe.package_info()
package_files = recipe.cpp_info.builddirs[0]
for path in ("include/nibble/nibble.hpp", "licenses/LICENSE", os.path.join(package_files, "nibble-config.cmake")):
    assert os.path.exists(os.path.join(recipe.package_folder, path)), f"the package has no {path}"
recipe_of(os.path.join(recipe_folder, "test_package", "conanfile.py"))
for name in ("CMakeLists.txt", "first_product.cpp"):
    assert os.path.exists(os.path.join(recipe_folder, "test_package", name))
print(f"{recipe.name} {recipe.version} requires {', '.join(recipe.required)}")
