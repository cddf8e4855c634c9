# pip install --target, a virtual environment, and imports of what was installed.
# Version: python3 --version
# Needs: network
cd "$AREA"
python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action ignore --target lib six==1.16.0 packaging==24.0
PYTHONPATH=lib python3 -c 'import six, packaging.version; assert six.PY3'
[ -d lib/packaging/__pycache__ ]
python3 -m venv env
env/bin/pip install --quiet --no-cache-dir --disable-pip-version-check six==1.16.0
env/bin/python -c 'import six; assert "env" in six.__file__'
mv "$AREA" "$MNT/tags/$REPO/"
PYTHONPATH=$MNT/versions/$REPO/1/lib python3 -c 'import six; assert six.PY3'
