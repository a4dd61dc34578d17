const driver = require('mongodb');
const use = require('./use.cjs');

use(driver, process.argv[2]).then((found) => console.log(JSON.stringify(found)));
