# npm install, npm ci, and a program that requires what was installed.
# Version: npm --version
# Needs: network
cd "$AREA"
export npm_config_cache=$AREA/.cache HOME=$PLAIN npm_config_update_notifier=false
mkdir project
cd project
printf '{"name": "test", "version": "1.0.0", "dependencies": {"is-number": "7.0.0", "mkdirp": "3.0.1"}}' >package.json
npm install --silent --no-audit --no-fund
rm -rf node_modules
npm ci --silent --no-audit --no-fund
npm ci --silent --no-audit --no-fund --offline
[ "$(node -p 'require("is-number")(5)')" = true ]
node_modules/.bin/mkdirp made/by/mkdirp
[ -d made/by/mkdirp ]
mv "$AREA" "$MNT/tags/$REPO/"
[ "$(cd "$MNT/versions/$REPO/1/project" && node -p 'require("is-number")(5)')" = true ]
