//! The modules of the workspace's crates, read as the compiler finds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::{Attribute, Item};

use crate::workspace::Workspace;

/// The crates whose public types are the project's, by folder: those that a user meets.
const CRATES: &[&str] = &["allocator/uapi", "allocator", "isp-gpu", "sinks", "pipeline", "."];

/// A crate's modules, parents first.
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) modules: Vec<Module>,
}

/// A module, without its child modules and without tests.
pub(super) struct Module {
    /// Names from the crate's root, which itself has none.
    pub(super) path: Vec<String>,
    pub(super) file: PathBuf,
    pub(super) items: Vec<Item>,
}

impl Crate {
    /// All crates that are there.
    pub(super) fn all(workspace: &Workspace) -> Result<Vec<Self>> {
        let mut crates = Vec::new();
        for folder in CRATES {
            let sources = workspace.root.join(folder).join("src");
            for root in ["lib.rs", "main.rs"] {
                let file = sources.join(root);
                if file.is_file() {
                    let name = if *folder == "." { "vcam" } else { folder }.replace('/', "-");
                    let mut modules = Vec::new();
                    read(&file, &sources, Vec::new(), &mut modules)?;
                    for module in &mut modules {
                        let short = module.file.strip_prefix(&workspace.root);
                        module.file = short.map(Path::to_path_buf).unwrap_or_default();
                    }
                    crates.push(Self { name: format!("{name}/{root}"), modules });
                }
            }
        }
        Ok(crates)
    }

    /// Returns true if there is a module of this path.
    pub(super) fn module(&self, path: &[String]) -> Option<&Module> {
        self.modules.iter().find(|module| module.path == path)
    }
}

/// Reads the module in `file`, whose child modules lie in `folder`.
fn read(file: &Path, folder: &Path, path: Vec<String>, into: &mut Vec<Module>) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed =
        syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    add(parsed.items, file, folder, path, into)
}

fn add(
    items: Vec<Item>,
    file: &Path,
    folder: &Path,
    path: Vec<String>,
    into: &mut Vec<Module>,
) -> Result<()> {
    let (modules, items): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| matches!(item, Item::Mod(_)));
    into.push(Module { path: path.clone(), file: file.to_path_buf(), items });
    for module in modules {
        let Item::Mod(module) = module else { continue };
        if is_test(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let child = [path.clone(), vec![name.clone()]].concat();
        let children = folder.join(&name);
        if let Some((_, items)) = module.content {
            add(items, file, &children, child, into)?;
            continue;
        }
        let found = [folder.join(format!("{name}.rs")), children.join("mod.rs")]
            .into_iter()
            .find(|file| file.is_file());
        let Some(found) = found else {
            bail!("{} has no file for its module `{name}`", file.display());
        };
        read(&found, &children, child, into)?;
    }
    Ok(())
}

/// Returns true if an item is for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}
